"""A video file that was cut short is noticed; one that is whole, or whose container does not say, is not."""

from __future__ import annotations

import av
import pytest
from video_files import moving_frames, write_video

from extract.decode.ends import missing_bytes
from extract.errors import CorruptVideoError
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.store.reader import open_store
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule

CODECS = {"avi": "mpeg4", "mkv": "libx264", "webm": "libvpx"}


def cut(path, share=2 / 3):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return len(content) - int(len(content) * share)


def info(store):
    return "\n".join(open_store(store).summary()["warnings"])


def with_index_first(path):
    """The same video with the index of the file at its start, so that a cut file still opens."""
    other = path.with_name("fast.mp4")
    with av.open(str(path)) as source, av.open(str(other), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.unlink()
    return other


@pytest.mark.parametrize("ending", [*CODECS, "mp4"])
def test_a_video_that_was_cut_short_is_named_and_no_longer_passes_for_whole(ending, tmp_path):
    path = write_video(tmp_path / "v" / f"a.{ending}", moving_frames(90), codec=CODECS.get(ending, "libx264"))
    path = with_index_first(path) if ending == "mp4" else path
    assert missing_bytes(path) == 0
    lost = cut(path)
    assert missing_bytes(path) == lost
    settings = ExtractSettings(output=tmp_path / "f", backbone="tiny", sampling=SamplingRule("every", 1))
    [result] = extract(find_videos(path.parent), settings)
    assert result.status == "done" and any("cut short" in remark for remark in result.remarks)
    if ending in ("avi", "mp4"):  # they say how many frames there were
        assert result.lost_spans[-1][1] == pytest.approx(9.0, abs=0.8) and "lost frames" in info(tmp_path / "f")
    skipping = ExtractSettings(output=tmp_path / "g", backbone="tiny", sampling=settings.sampling, on_corrupt="skip")
    [result] = extract(find_videos(path.parent), skipping)
    assert result.status == "failed" and "lost frames" in result.reason
    failing = ExtractSettings(output=tmp_path / "h", backbone="tiny", sampling=settings.sampling, on_corrupt="fail")
    with pytest.raises(CorruptVideoError):
        list(extract(find_videos(path.parent), failing))


def test_the_first_frames_of_a_cut_file_are_none_of_those_lost(tmp_path):
    path = write_video(tmp_path / "v" / "a.avi", moving_frames(90), codec="mpeg4")
    cut(path)
    settings = ExtractSettings(
        output=tmp_path / "f",
        backbone="tiny",
        sampling=SamplingRule("every", 1, first_frames=5),
        on_corrupt="skip",
    )
    [result] = extract(find_videos(path.parent), settings)
    assert (result.status, result.rows) == ("done", 5)


def test_a_few_bytes_too_many_in_a_header_are_no_missing_end(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_frames(9), codec="mpeg4")
    cut(path, 1 - 20 / path.stat().st_size)
    assert missing_bytes(path) == 0


@pytest.mark.parametrize("ending", ["ts", "flv"])
def test_a_container_that_does_not_say_how_long_it_is_tells_nothing(ending, tmp_path):
    path = write_video(tmp_path / f"a.{ending}", moving_frames(40))
    cut(path)
    assert missing_bytes(path) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x81\x00\x18\x53\x80\x67\x01" + b"\xff" * 7,  # a live recording of unknown length
        b"\0\0\0\x04ftyp",
        b"\0\0\0\0mdat" + b"\0" * 20,  # to the end of the file
        b"\0\0\0\x10ftypisom\0\0\0\0junkjunkjunk",
    ],
)
def test_odd_beginnings_tell_nothing(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    assert missing_bytes(tmp_path / "a") == 0
