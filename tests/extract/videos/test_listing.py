import math
import os
from pathlib import Path

import pytest

from extract.errors import UnreadableVideoError, UsageError
from extract.records import VideoItem
from extract.videos.listing import find_videos, read_clip_table
from extract.videos.sources import source_of

HMDB = "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    return folder


def ids(target) -> list[str]:
    return [item.clip_id for item in find_videos(target)]


def message_of(error_class, target) -> str:
    with pytest.raises(error_class) as error:
        find_videos(target)
    return str(error.value)


def test_a_folder_is_searched_with_its_sub_folders_in_natural_order(tmp_path):
    touch(tmp_path, "b/clip10.mp4", "b/clip2.mp4", "a/x.AVI", "readme.txt", "labels.csv", ".hidden.mp4", ".git/x.mp4")
    assert ids(tmp_path) == ["a/x.AVI", "b/clip2.mp4", "b/clip10.mp4"]


def test_names_as_data_sets_have_them(tmp_path):
    names = [HMDB, "[set 1]/a b.mp4", "-dash/-x.mkv", "Taï/видео.webm", "100%.mp4", "a#t=x.mp4"]
    touch(tmp_path, *names)
    assert sorted(ids(tmp_path)) == sorted(names)
    assert all((tmp_path / item.clip_id) == item.path for item in find_videos(tmp_path))


def test_an_existing_path_is_never_a_glob(tmp_path):
    touch(tmp_path / "[ab]", "x.mp4")
    touch(tmp_path / "a", "wrong.mp4")
    assert ids(tmp_path / "[ab]") == ["x.mp4"]
    assert ids(str(tmp_path / "[ab]" / "*.mp4")) == ["x.mp4"]
    assert ids(tmp_path / "[ab]" / "x.mp4") == ["x.mp4"]


def test_an_existing_name_is_never_a_span(tmp_path):
    touch(tmp_path, "x#t=1,2")
    assert find_videos(tmp_path / "x#t=1,2") == [VideoItem("x#t=1,2", tmp_path / "x#t=1,2")]


def test_a_glob_names_clips_below_its_wildcard_free_part(tmp_path):
    touch(tmp_path, "set/a/1.mp4", "set/b/1.mp4", "set/b/1.txt")
    assert ids(str(tmp_path / "set" / "*" / "*")) == ["a/1.mp4", "b/1.mp4"]
    assert ids(str(tmp_path / "**" / "*.mp4")) == ["set/a/1.mp4", "set/b/1.mp4"]


def test_a_file_is_named_by_its_name(tmp_path):
    touch(tmp_path, "deep/one.mp4")
    assert find_videos(tmp_path / "deep" / "one.mp4") == [VideoItem("one.mp4", tmp_path / "deep" / "one.mp4")]


def test_a_span_of_a_file(tmp_path):
    touch(tmp_path, "one.mp4")
    target = f"{tmp_path / 'one.mp4'}#t=1.50,3"
    assert find_videos(target) == [VideoItem("one.mp4#t=1.5,3", tmp_path / "one.mp4", 1.5, 3.0)]


def test_a_folder_of_numbered_pictures_is_one_clip(tmp_path):
    touch(tmp_path, "wave/clip1/img_1.jpg", "wave/clip1/img_2.jpg", "wave/cover.jpg", "hug/thumb1.jpg", "hug/a.mp4")
    assert ids(tmp_path) == ["hug/a.mp4", "wave/clip1"]
    assert find_videos(tmp_path / "wave" / "clip1") == [VideoItem("clip1", tmp_path / "wave" / "clip1")]
    assert ids(str(tmp_path / "wave" / "*")) == ["clip1"]


def test_a_folder_named_like_a_video_is_a_folder(tmp_path):
    touch(tmp_path, "trap.mp4/real.mp4")
    assert ids(tmp_path) == ["trap.mp4/real.mp4"]


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path / "elsewhere", "a.mp4")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "one.mp4").symlink_to(tmp_path / "elsewhere" / "a.mp4")
    assert ids(tmp_path / "set") == ["link/a.mp4", "one.mp4"]


def test_a_broken_link_stays_in_the_list_to_fail_by_name(tmp_path):
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert ids(tmp_path) == ["gone.mp4"]
    with pytest.raises(UnreadableVideoError, match=r"gone.mp4 cannot be read \(No such file or directory\)"):
        source_of(find_videos(tmp_path)[0], with_digest=False)


def write_table(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_lists_clips_and_spans(tmp_path):
    touch(tmp_path, "v/a.mp4", "v/b c.mp4")
    table = write_table(
        tmp_path,
        "\ufeffpath,clip_id,start_seconds,end_seconds,label\n"
        "v/a.mp4,,,,hug\nv/a.mp4,,0.5,2,push\nv/a.mp4,mine,3,,x\nv/b c.mp4#t=1,,,,y\n",
    )
    items = find_videos(table)
    assert [(item.clip_id, item.start_seconds, item.end_seconds) for item in items] == [
        ("mine", 3.0, math.inf),
        ("v/a.mp4", 0.0, math.inf),
        ("v/a.mp4#t=0.5,2", 0.5, 2.0),
        ("v/b c.mp4#t=1", 0.0, math.inf),  # no span: a final #t=number,number is one
    ]
    assert read_clip_table(table)[1][1] == {
        "path": "v/a.mp4",
        "clip_id": "",
        "start_seconds": "0.5",
        "end_seconds": "2",
        "label": "push",
        "group": "",
        "split": "",
    }


def test_a_table_may_write_spans_into_the_path(tmp_path):
    touch(tmp_path, "a.mp4")
    items = find_videos(write_table(tmp_path, 'path\n"a.mp4#t=1,2.5"\n'))
    assert items == [VideoItem("a.mp4#t=1,2.5", tmp_path / "a.mp4", 1.0, 2.5)]


def test_a_missing_file_in_a_table_is_one_clip_that_fails_later(tmp_path):
    assert ids(write_table(tmp_path, "path\nnowhere.mp4\n")) == ["nowhere.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_id,label\na,b\n", "list.csv has the columns clip_id, label; a list of clips needs `path`"),
        ("path\n", "list.csv lists no clips; add lines below the header"),
        ("path,label\na.mp4,x\n,y\n", "list.csv line 3 has no path; fill it in or delete the line"),
        ("path,start_seconds\na.mp4,soon\n", "line 2: start_seconds is 'soon', but must be a number of seconds"),
        ("path,start_seconds,end_seconds\na.mp4,3,2\n", "line 2: the span 3 to 2 s must start at 0 or later"),
        ("path,start_seconds\na.mp4,nan\n", "line 2: the span nan to inf s must start at 0 or later"),
        ("path\na.mp4\na.mp4\n", "two clips are named 'a.mp4' ("),
        ("path,clip_id\na.mp4,../x\n", "the clip_id '../x' must be relative and without '..'"),
        ("path\n../a.mp4\n", "list.csv line 2: ../a.mp4 is not below the folder of the list, so the clip has no"),
        (
            "path\na.mp4\n/far/a.mp4\n",
            "line 3: /far/a.mp4 is not below the folder of the list, so the clip has no",
        ),
        ("path,begin,stop\na.mp4,0,1\n", "list.csv has the columns begin, stop, which a list of clips cannot use"),
        ("path,onset,duration\na.mp4,0,1\n", "list.csv has the columns onset, duration, which a list of clips cannot"),
        ('path\n"a.mp4#t=5,2"\n', "must end after it starts"),
        (
            "path,start,end\na.mp4,0,1\n",
            "list.csv has the columns start, end, which a list of clips cannot use: give",
        ),
        ("path;start_seconds;end_seconds\na.mp4;0,5;1\n", "list.csv has decimal commas, such as 0,5; write decimal"),
        (
            "path,label\n\na, b.mp4,x\n",
            "list.csv line 3 has more cells than the header; put names with separators in double quotes",
        ),
        ("path,start_frame,end_frame\na.mp4,0,50\n", "has the columns start_frame, end_frame, which a list of clips"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path, text, message):
    assert message in message_of(UsageError, write_table(tmp_path, text))


@pytest.mark.parametrize("address", ["rtsp://10.0.0.1/stream", "gs://b/*.mp4", "file:///a.mp4"])
def test_an_address_is_not_supported_rather_than_missing(address):
    scheme = address.partition("//")[0]
    assert f"{address}: {scheme}// is not supported, only s3:// and https:// are" in message_of(UsageError, address)


def test_columns_that_mean_nothing_are_named_once_and_headers_ignore_case(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b.mp4")
    table = write_table(tmp_path, "Path,Clip_ID,fps,Start_Seconds,notes\na.mp4,one,30,1,x\nb.mp4,two,30,0,y\n")
    assert [(item.clip_id, item.start_seconds) for item in find_videos(table)] == [("one", 1.0), ("two", 0.0)]
    assert caplog.messages == [f"{table}: the columns fps, notes are not known here and not used"]


def test_a_table_from_windows_has_backslashes(tmp_path):
    touch(tmp_path, "v/a.mp4", "v/b\\c.mp4")
    assert ids(write_table(tmp_path, "path\nv\\a.mp4\nv/b\\c.mp4\n")) == ["v/a.mp4", "v/b\\c.mp4"]


def test_a_table_elsewhere_works_with_ids(tmp_path):
    touch(tmp_path, "v/a.mp4")
    (tmp_path / "lists").mkdir()
    items = find_videos(write_table(tmp_path / "lists", f"path,clip_id\n{tmp_path}/v/a.mp4,a\n"))
    assert [item.path.read_bytes() for item in items] == [b"video"]


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    touch(tmp_path, "a.txt", "b.wav")
    message = message_of(UsageError, tmp_path)
    assert message.startswith(
        f"{tmp_path} holds no videos (2 other files); looked for .mp4 .avi .mov .mkv .webm and 45 other"
    )
    assert ".mp4 " in message and message.endswith("folders of pictures whose names end in a number")


def test_a_missing_target_is_named():
    assert message_of(UsageError, "no/such/thing") == (
        "no/such/thing does not exist; give a folder of videos, a glob in quotes, a file or a CSV"
    )


def test_a_glob_without_videos_is_named(tmp_path):
    touch(tmp_path, "a.txt")
    message = message_of(UsageError, str(tmp_path / "*"))
    assert "matches no video (1 other match)" in message


def test_what_is_left_out_is_said_one_line_for_each_kind(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b.txt", "c/d.srt", "poster.png", "seq/0.png", "seq/1.png", "seq/cover.jpg")
    touch(tmp_path, *(f"copied/img ({number}).jpg" for number in range(5)))
    assert ids(tmp_path) == ["a.mp4", "seq"]
    assert caplog.messages == [
        f"{tmp_path}: left out 2 files (files that are not videos): b.txt, c/d.srt",
        f"{tmp_path}: left out 1 file (pictures beside videos): poster.png",
        f"{tmp_path}: left out 6 files (pictures whose names do not end in a number): "
        "copied/img (0).jpg, copied/img (1).jpg, copied/img (2).jpg and 3 more",
    ]


def test_what_a_glob_matches_and_leaves_out_is_said_too(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b.txt", "poster.png", "seq/0.png", "seq/1.png", "class/c.mp4")
    assert ids(tmp_path / "*") == ["a.mp4", "seq"]
    assert caplog.messages == [
        f"{tmp_path}/*: left out 1 file (files that are not videos): b.txt",
        f"{tmp_path}/*: left out 1 file (pictures beside videos): poster.png",
        f"{tmp_path}/*: left out 1 folder (which hold no numbered pictures themselves): class",
    ]


def test_two_sequences_in_one_folder_are_named(tmp_path, caplog):
    touch(tmp_path, *(f"both/{view}_{number}.png" for view in ("left", "right") for number in range(3)))
    assert ids(tmp_path) == ids(tmp_path / "*") == ["both"]
    assert caplog.messages == 2 * [
        f"{tmp_path}/both holds 2 numbered sequences of pictures (left_, right_), which are read as one clip; give "
        "each a folder of its own"
    ]


def test_the_source_changes_with_the_content(tmp_path):
    item = VideoItem("a.mp4", touch(tmp_path, "a.mp4") / "a.mp4")
    before = source_of(item, with_digest=True)
    assert (before.path, before.size) == (os.path.abspath(item.path), 5)
    assert len(before.digest) == 64
    assert source_of(item, with_digest=False).digest == ""
    item.path.write_bytes(b"other")
    assert source_of(item, with_digest=True).digest != before.digest


def test_the_source_of_pictures_is_all_of_them(tmp_path):
    touch(tmp_path, "p/1.png", "p/2.png", "p/notes.txt")
    item = VideoItem("p", tmp_path / "p")
    before = source_of(item, with_digest=True)
    assert before.size == 10
    (tmp_path / "p" / "2.png").rename(tmp_path / "p" / "3.png")
    assert source_of(item, with_digest=True).digest != before.digest
