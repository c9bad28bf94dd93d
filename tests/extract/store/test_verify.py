import numpy as np
import pytest
from store_examples import LENGTHS, RECIPE, add_clip, append, assert_clip, change_row, make_store, shard_of

from extract.errors import SchemaError, StoreError
from extract.store import checked_rows
from extract.store import verify as store_verify
from extract.store import writer as store_write
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.shard import open_shard
from extract.store.verify import verdict_lines, verify
from extract.store.writer import StoreWriter


def unchecked_writer(monkeypatch, path):
    """A writer that takes rows that it should not."""
    monkeypatch.setattr(store_write, "_check_finite", lambda *_: None)
    monkeypatch.setattr(store_write, "_check_rising", lambda *_: None)
    return StoreWriter(path, RECIPE, engine="keras")


def test_a_sound_store_is_counted(tmp_path):
    report = verify(make_store(tmp_path))

    assert report.is_sound
    assert (report.num_shards, report.num_clips, report.num_frames) == (1, 3, 15)
    assert report.notes == ()


@pytest.mark.parametrize("dataset", ["embeddings", "pts_seconds", "frame_index"])
def test_one_changed_byte_is_named_with_its_clip(tmp_path, dataset):
    make_store(tmp_path)
    change_row(shard_of(tmp_path), "hug/a.mp4", dataset)

    report = verify(tmp_path)

    assert report.damaged_clip_ids == ("hug/a.mp4",)
    assert report.damages[0].file == shard_of(tmp_path).name
    assert report.damages[0].reason == "1 of 3 clips or parts damaged: the digest of their rows is wrong"


def test_a_changed_truth_record_is_named(tmp_path):
    make_store(tmp_path)
    shard = shard_of(tmp_path)
    shard.write_bytes(shard.read_bytes().replace(b"h264", b"h265", 1))

    assert len(verify(tmp_path).damaged_clip_ids) == 1


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_shard_that_was_cut_off_still_names_its_clips(tmp_path, share):
    make_store(tmp_path, {clip_id: 400 for clip_id in LENGTHS})
    shard = shard_of(tmp_path)
    content = shard.read_bytes()
    shard.write_bytes(content[: int(len(content) * share)])

    assert verify(tmp_path).damaged_clip_ids == tuple(sorted(LENGTHS))


def test_an_empty_shard_is_damage_without_names(tmp_path):
    make_store(tmp_path)
    (tmp_path / "shard-x-1-y-000000.h5").touch()

    (damage,) = verify(tmp_path).damages
    assert (damage.file, damage.clip_ids) == ("shard-x-1-y-000000.h5", ())
    assert "is not an HDF5 file" in damage.reason


def test_repair_sets_damaged_shards_aside_and_a_rerun_refills(tmp_path):
    make_store(tmp_path, {"a": 5})
    broken = shard_of(tmp_path)
    make_store(tmp_path, {"b": 4})
    change_row(broken, "a")

    report = verify(tmp_path, repair=True)

    assert report.set_aside == (broken.name,)
    assert report.damaged_clip_ids == ("a",)
    assert (tmp_path / f"{broken.name}.damaged").exists()
    assert open_store(tmp_path).clip_ids == ["b"]
    make_store(tmp_path, {"a": 5})
    again = verify(tmp_path)
    assert again.is_sound
    assert again.notes == ("1 damaged shard set aside as *.damaged, which you can delete",)
    assert_clip(tmp_path, "a", 5)


def test_sound_clips_of_a_damaged_shard_are_counted_and_what_repair_does_is_said_before_and_after(tmp_path):
    make_store(tmp_path)
    make_store(tmp_path, {"other": 4})
    broken = next(path for path in tmp_path.glob("shard-*.h5") if len(open_shard(path)) == 3)
    change_row(broken, "hug/a.mp4")

    before = verify(tmp_path)
    assert (before.num_shards, before.num_clips, before.num_frames) == (1, 3, 12)
    assert verdict_lines(before) == [
        "found 1 damaged clip in 1 damaged file; sound: 3 clips, 12 frames",
        "--repair would set aside 1 shard with 3 clips, 2 of them sound, and the next clipseq extract would redo them",
    ]
    after = verify(tmp_path, repair=True)
    assert verdict_lines(after)[1] == (
        f"set aside 1 shard with 3 clips, 2 of them sound ({broken.name}): run the same clipseq extract again to redo "
        "them"
    )
    assert verdict_lines(verify(tmp_path)) == ["read 1 clip, 4 frames in 1 shard: all sound"]


def test_a_clip_whose_older_version_is_damaged_is_sound_and_is_not_redone(tmp_path):
    make_store(tmp_path, {"a": 5})
    broken = shard_of(tmp_path)
    make_store(tmp_path, {"a": 6})
    change_row(broken, "a")

    report = verify(tmp_path)
    assert (report.num_clips, report.num_frames, report.clips_aside) == (1, 6, ())


@pytest.mark.parametrize("content", [None, "", '{"torn'])
def test_repair_writes_a_lost_recipe_anew_from_the_shards(tmp_path, content):
    make_store(tmp_path)
    (tmp_path / "recipe.json").unlink()
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)

    report = verify(tmp_path)
    assert [damage.file for damage in report.damages] == ["recipe.json"]
    assert verdict_lines(report)[1:] == ["--repair would write recipe.json again from the shards"]
    assert verdict_lines(verify(tmp_path, repair=True))[1:] == ["wrote recipe.json again from the shards"]

    assert verify(tmp_path).is_sound
    assert open_store(tmp_path).recipe == RECIPE


def test_a_store_without_a_sound_shard_cannot_get_its_recipe_back(tmp_path):
    (tmp_path / "shard-x-1-y-000000.h5").touch()

    with pytest.raises(StoreError, match="has no shard left to recover the recipe from: remove it, and extract again"):
        verify(tmp_path, repair=True)


def test_a_shard_of_another_recipe_is_damage(tmp_path):
    make_store(tmp_path / "f")
    with StoreWriter(tmp_path / "g", {**RECIPE, "image_size": 9}, engine="keras") as writer:
        add_clip(writer, "x", 2)
    shard_of(tmp_path / "g").rename(tmp_path / "f" / "shard-other-1-x-000000.h5")

    (damage,) = verify(tmp_path / "f").damages
    assert (damage.reason, damage.clip_ids) == ("it was made with another recipe", ("x",))


@pytest.mark.parametrize(
    ("rows", "times", "reason"),
    [
        ([[np.nan]] * 3, [0, 1, 2], "values are not finite"),
        ([[1]] * 3, [0, 2, 1], "timestamps do not increase"),
        ([[1]] * 3, [0, np.inf, np.inf], "timestamps do not increase"),
    ],
)
def test_rows_that_should_not_be_there_are_named(tmp_path, monkeypatch, rows, times, reason):
    monkeypatch.setattr(checked_rows, "BLOCK_BYTES", 2)
    with unchecked_writer(monkeypatch, tmp_path) as writer:
        writer.append("a", np.array(rows, float), np.arange(3), np.array(times), store_write.Source("a", 1, 1))
        writer.finish("a", None)

    (damage,) = verify(tmp_path).damages
    assert damage.reason == f"1 of 1 clip or part damaged: {reason}"


def test_parts_whose_timestamps_do_not_follow_are_named(tmp_path, monkeypatch):
    with unchecked_writer(monkeypatch, tmp_path) as writer:
        append(writer, "a", 0, 3)
        writer.seal()
        writer.append("a", np.ones((2, 4)), np.arange(2), np.arange(2.0), store_write.Source("a", 1000, 2000, "d1"))
        writer.finish("a", None)

    (damage,) = verify(tmp_path).damages
    assert (damage.reason, damage.clip_ids) == ("timestamps do not increase from part to part", ("a",))


def test_unfinished_clips_and_half_written_files_are_no_damage(tmp_path):
    with StoreWriter(tmp_path, RECIPE, engine="keras") as writer:
        append(writer, "long", 0, 3)
    (tmp_path / ".tmp-host-1-abc-shard.h5").touch()

    report = verify(tmp_path)
    assert report.is_sound
    assert report.notes == (
        "1 unfinished clip, which a rerun resumes: long",
        "1 half-written file of stopped or running writers, which you can ignore",
    )


def test_a_packed_store_is_verified_and_cannot_be_repaired(tmp_path):
    pack(make_store(tmp_path / "f"), tmp_path / "packed.h5")
    assert verify(tmp_path / "packed.h5").num_clips == 3
    change_row(tmp_path / "packed.h5", "hug/a.mp4")

    assert verify(tmp_path / "packed.h5").damaged_clip_ids == ("hug/a.mp4",)
    assert verdict_lines(verify(tmp_path / "packed.h5")) == [
        "found 1 damaged clip in 1 damaged file; sound: 2 clips, 8 frames",
        "a packed file cannot be repaired: pack its directory again",
    ]
    with pytest.raises(StoreError, match="a packed file cannot be repaired, so pack its directory again"):
        verify(tmp_path / "packed.h5", repair=True)


def test_nothing_to_verify_is_one_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("hello")

    with pytest.raises(StoreError, match="is not a feature store: if it holds videos"):
        verify(tmp_path)
    with pytest.raises(SchemaError, match=r"a\.txt is not an HDF5 file"):
        verify(tmp_path / "a.txt")


@pytest.fixture
def many(tmp_path):
    """40 clips in four shards."""
    with StoreWriter(tmp_path / "many", RECIPE, engine="keras") as writer:
        for shard in range(4):
            for clip in range(10):
                add_clip(writer, f"{shard}/{clip}", 3)
            writer.seal()
    return tmp_path / "many"


def test_a_sample_reads_so_many_clips_and_says_so(many, monkeypatch):
    read, blocks = [], store_verify.part_blocks
    monkeypatch.setattr(store_verify, "part_blocks", lambda *part: read.append(part) or blocks(*part))
    report = verify(many, sample=7)
    assert report.is_sound and len(read) == report.num_sampled == 7 and report.num_clips == 40
    assert verdict_lines(report) == [
        "read the tables of 4 shards with 40 clips, and the rows of 7 clips or parts chosen at random: all sound"
    ]
    assert verify(many, sample=99).num_sampled == 40


def test_samples_differ_and_in_the_end_find_damage(many):
    shard = next(path for path in many.glob("shard-*") if b"2/4" in path.read_bytes())
    change_row(shard, "2/4")
    found = [verify(many, sample=20).damaged_clip_ids for _ in range(40)]
    assert any("2/4" in ids for ids in found) and not all("2/4" in ids for ids in found)


def test_a_sample_still_finds_every_damaged_table(many):
    with open(sorted(many.glob("shard-*.h5"))[1], "r+b") as file:
        file.truncate(2000)
    report = verify(many, sample=1, repair=True)
    assert len(report.set_aside) == 1 and report.num_clips == 30
