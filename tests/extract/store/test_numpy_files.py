import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from places import SHARED
from store_examples import RECIPE, SOURCE, assert_clip, make_store, rows_of

from extract.errors import RecipeMismatchError, UnstorableClipError, UsageError
from extract.store.feature_files import open_features
from extract.store.numpy_files import Imported, ImportSettings, export_features, import_features, stored_rows
from extract.store.reader import open_store
from extract.store.writer import StoreWriter
from pipeline import main

RATS = SHARED / "rat_behaviour"
NAN = np.nan


@pytest.fixture
def folder(tmp_path):
    """Two clips of 6 and 4 rows of width 3."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    np.save(tmp_path / "in" / "a.npy", rows_of("a", 6, dim=3))
    np.savez(tmp_path / "in" / "sub" / "b.c.npz", pose=rows_of("b", 4, dim=3).astype("f8"), names=np.array(["x", "y"]))
    return tmp_path / "in"


def save(folder, array, name="x.npy"):
    np.save(folder / name, array)
    return folder / name


def test_files_become_clips_with_times_from_fps(folder, tmp_path):
    assert import_features(folder, tmp_path / "f", ImportSettings(fps=4)) == Imported(2, 0, {})

    store = open_store(tmp_path / "f")
    assert store.lengths() == {"a": 6, "sub/b.c": 4}
    clip = store.read("sub/b.c")
    assert clip.embeddings.dtype == np.float32
    np.testing.assert_array_equal(clip.embeddings, rows_of("b", 4, dim=3))
    assert clip.pts_seconds.tolist() == [0, 0.25, 0.5, 0.75]
    assert clip.frame_indices.tolist() == [0, 1, 2, 3]
    assert clip.truth is None


def test_without_fps_times_are_row_numbers(folder, tmp_path):
    import_features(folder, tmp_path / "f", ImportSettings())

    assert open_store(tmp_path / "f").read("a").pts_seconds.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_rerun_does_only_what_changed(folder, tmp_path):
    import_features(folder, tmp_path / "f", ImportSettings())
    assert import_features(folder, tmp_path / "f", ImportSettings()) == Imported(0, 2, {})
    os.utime(folder / "a.npy", (1, 1))
    assert import_features(folder, tmp_path / "f", ImportSettings()) == Imported(0, 2, {})
    save(folder, rows_of("a", 7, dim=3), "a.npy")

    assert import_features(folder, tmp_path / "f", ImportSettings()) == Imported(1, 1, {})
    assert open_store(tmp_path / "f").lengths()["a"] == 7


def test_other_settings_need_another_store(folder, tmp_path):
    import_features(folder, tmp_path / "f", ImportSettings(fps=4))

    with pytest.raises(RecipeMismatchError, match=r"fps=4\.0, you asked for 5\.0"):
        import_features(folder, tmp_path / "f", ImportSettings(fps=5))


def test_a_bad_file_fails_alone_and_is_in_the_ledger(folder, tmp_path):
    save(folder, np.zeros((4, 9)), "wide.npy")
    (folder / "torn.npy").write_bytes((folder / "a.npy").read_bytes()[:100])

    done = import_features(folder, tmp_path / "f", ImportSettings())

    assert (done.num_done, sorted(done.failed)) == (2, ["torn", "wide"])
    assert done.failed["wide"] == (
        f"wide has rows of shape (9,), but {tmp_path / 'f'} holds (3,): all clips of a store must have equal width."
    )
    assert sorted(open_store(tmp_path / "f").failures()) == ["torn", "wide"]


def read_rows(path, settings):
    with open_features(path, key=settings.key, transpose=bool(settings.transpose)) as features:
        yield from stored_rows(features, settings)


def load_rows(path, settings):
    return np.concatenate(list(read_rows(path, settings)))


@pytest.mark.parametrize("save_as", [np.save, np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("transpose", [False, True])
def test_rows_come_in_blocks_however_they_lie(tmp_path, monkeypatch, save_as, order, transpose):
    rows = rows_of("a", 7, dim=3)
    monkeypatch.setattr("extract.store.numpy_arrays.BLOCK_BYTES", 2 * rows[0].nbytes)
    with (tmp_path / "x").open("wb") as file:
        save_as(file, np.asarray(rows.T if transpose else rows, order=order))

    blocks = list(read_rows(tmp_path / "x", ImportSettings(transpose=transpose)))

    assert list(map(len, blocks)) == [2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), rows)


@pytest.mark.slow
def test_a_small_file_of_many_zeros_takes_little_memory(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.savez_compressed(file, np.zeros((100_000, 1_000), np.float32))  # 400 MB
    tracemalloc.start()
    assert sum(map(len, read_rows(tmp_path / "x.npz", ImportSettings()))) == 100_000
    assert (tmp_path / "x.npz").stat().st_size < 500_000 and tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_byte_that_changed_in_an_archive_is_noticed(tmp_path):
    np.savez(tmp_path / "x.npz", rows_of("a", 7, dim=3))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[200] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UnstorableClipError, match=r"cannot be read as features \(Bad CRC-32"):
        load_rows(tmp_path / "x.npz", ImportSettings())


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i8", "u1", "?"])
def test_all_real_numbers_become_float32(tmp_path, dtype):
    rows = load_rows(save(tmp_path, np.array([[0, 1], [1, 1]], dtype)), ImportSettings())

    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("zero", [[0, 1], [3, 0], [0, 0], [5, 4]]), ("interpolate", [[3, 1], [3, 2], [4, 3], [5, 4]])],
)
def test_nan_is_replaced_as_asked_and_marked(tmp_path, policy, expected):
    path = save(tmp_path, np.array([[NAN, 1], [3, NAN], [NAN, NAN], [5, 4]]))

    rows = load_rows(path, ImportSettings(nan=policy))
    assert rows[:, :2].tolist() == expected
    assert rows[:, 2:].tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("policy", ["zero", "interpolate"])
def test_clips_without_gaps_are_as_wide_as_the_others(tmp_path, policy):
    path = save(tmp_path, np.array([[1.0, 2], [3, 4]]))

    assert load_rows(path, ImportSettings(nan=policy)).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0]]


def test_the_likelihood_of_a_missing_point_is_not_believed(tmp_path):
    """x, y, likelihood: several trackers write 1.0 beside a point that is not there."""
    path = save(tmp_path, np.array([[10, 20, 0.9, 5], [NAN, NAN, 1.0, 5], [30, 40, 0.8, 5]]))

    rows = load_rows(path, ImportSettings(nan="zero"))
    assert rows[:, :4].tolist() == [[10, 20, pytest.approx(0.9), 5], [0, 0, 0, 5], [30, 40, pytest.approx(0.8), 5]]
    assert rows[:, 4:].tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    rows = load_rows(path, ImportSettings(nan="interpolate"))
    assert rows[1].tolist() == [20, 30, pytest.approx(0.85), 5, 1, 1, 1, 0]


def test_a_coordinate_between_0_and_1_is_no_likelihood(tmp_path):
    path = save(tmp_path, np.array([[0.1, 0.2, 0.3, 0.4], [NAN, NAN, 0.5, 0.6], [0.7, 0.8, 0.9, 1.0]]))

    rows = load_rows(path, ImportSettings(nan="zero"))
    assert rows[1].tolist() == [0, 0, 0.5, pytest.approx(0.6), 1, 1, 0, 0]


def test_where_nobody_says_what_missing_values_become_the_first_files_tell(tmp_path):
    for name, missing in (("whole", False), ("gaps", True)):
        (tmp_path / name).mkdir()
        rows = np.array([[1.0, 2], [NAN if missing else 3, 4]])
        np.save(tmp_path / name / "a.npy", rows)
        imported = import_features(tmp_path / name, tmp_path / f"{name}_store", ImportSettings())
        store = open_store(tmp_path / f"{name}_store")
        assert (imported.nan, store.read("a").embeddings.shape[1]) == (("zero", 4) if missing else ("error", 2))
    np.save(tmp_path / "whole" / "b.npy", np.array([[NAN, 1], [1, 1]]))
    failed = import_features(tmp_path / "whole", tmp_path / "whole_store", ImportSettings()).failed
    assert "has NaN in 1 of 4 values" in failed["b"]
    np.save(tmp_path / "gaps" / "b.npy", np.ones((2, 2)))
    assert import_features(tmp_path / "gaps", tmp_path / "gaps_store", ImportSettings()).num_done == 1


def test_nan_is_an_error_that_names_the_choices(tmp_path):
    path = save(tmp_path, np.array([[NAN, 1], [3, NAN]]))

    with pytest.raises(UnstorableClipError, match="has NaN in 2 of 4 values: import it with --nan zero or"):
        load_rows(path, ImportSettings())


def test_the_advice_to_interpolate_can_be_followed_in_the_same_output(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in", np.array([[NAN, 1], [3, NAN]]))

    assert import_features(tmp_path / "in", tmp_path / "f", ImportSettings(nan="error")).failed
    again = import_features(tmp_path / "in", tmp_path / "f", ImportSettings(nan="interpolate"))
    assert (again.num_done, again.failed) == (1, {})
    with pytest.raises(RecipeMismatchError, match="nan=interpolate, marked, you asked for zero, marked"):
        import_features(tmp_path / "in", tmp_path / "f", ImportSettings(nan="zero"))


def test_a_column_of_nothing_but_nan_becomes_0(tmp_path):
    path = save(tmp_path, np.array([[1, NAN], [2, NAN]]))

    assert load_rows(path, ImportSettings(nan="interpolate")).tolist() == [[1, 0, 0, 1], [2, 0, 0, 1]]


def test_infinite_values_fail_the_clip(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in", np.array([[1e300]]))

    failed = import_features(tmp_path / "in", tmp_path / "f", ImportSettings(nan="zero")).failed
    assert "a row contains inf, but values must be finite" in failed["x"]


@pytest.mark.parametrize(
    ("arrays", "key", "sentence"),
    [
        ({"a": np.ones((2, 2)), "b": np.ones((2, 3))}, None, "holds a (2, 2), b (2, 3): name the features with --key"),
        ({"a": np.ones(2)}, None, "holds a (2,): name the features with --key"),
        ({"a": np.ones((2, 2))}, "pose", "has no array 'pose', only a: check --key"),
        ({"a": np.ones(2)}, "a", "holds float64 (2,), but features must be numbers (T, D)"),
        ({"a": np.array([["x"]])}, "a", "holds <U1 (1, 1), but features must be numbers (T, D)"),
        ({"a": np.ones((2, 2), complex)}, "a", "holds complex128 (2, 2), but features must be numbers (T, D)"),
        ({"a": np.ones((0, 2))}, "a", "holds float64 (0, 2), but features must be numbers (T, D)"),
    ],
)
def test_what_is_no_features_is_named(tmp_path, arrays, key, sentence):
    np.savez(tmp_path / "x.npz", **arrays)

    with pytest.raises(UnstorableClipError) as caught:
        load_rows(tmp_path / "x.npz", ImportSettings(key=key))
    assert sentence in str(caught.value)


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def _huge_header():
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10**6)})
    return buffer.getvalue() + b"few bytes"


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        b"",
        b"PK\x03\x04 torn",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        _huge_header(),
    ],
)
def test_hostile_files_are_refused(tmp_path, ending, content):
    (tmp_path / f"x.{ending}").write_bytes(content)

    with pytest.raises(UnstorableClipError, match=r"cannot be read as features \(.*\): rewrite it"):
        load_rows(tmp_path / f"x.{ending}", ImportSettings())


@pytest.mark.parametrize("save_as", [np.save, np.savez])
def test_pickled_arrays_are_refused_without_running_them(tmp_path, save_as):
    save_as(tmp_path / "x.npz", np.array([[Bomb()]], dtype=object))
    path = next(tmp_path.iterdir())

    with pytest.raises(UnstorableClipError, match=r"holds object .*, but features must be numbers"):
        load_rows(path, ImportSettings())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fps": 0}, "--fps 0 must be greater than 0"),
        ({"nan": "drop"}, "--nan drop is not one of error, interpolate"),
    ],
)
def test_settings_that_mean_nothing_are_usage_errors(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        ImportSettings(**settings)


def test_folders_without_features_and_equal_names_are_usage_errors(folder, tmp_path):
    with pytest.raises(UsageError, match="is not a folder: give the folder that holds"):
        import_features(folder / "a.npy", tmp_path / "f", ImportSettings())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no file of features \(\.npy, \.npz, \.csv"):
        import_features(tmp_path / "empty", tmp_path / "f", ImportSettings())
    np.savez(folder / "a.npz", rows_of("a", 2))
    with pytest.raises(UsageError, match=r"a\.npy and .*a\.npz would both be the clip 'a': rename one"):
        import_features(folder, tmp_path / "f", ImportSettings())


def test_files_of_another_spelling_are_taken_or_named(tmp_path):
    for name in ("a.NPY", "b.Npz", "c.csv", "d/e.mat", ".hidden.csv"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / "in" / name).open("wb") as file:
            (np.savez if name == "b.Npz" else np.save)(file, np.ones((4, 3)))
    imported = import_features(tmp_path / "in", tmp_path / "store", ImportSettings())
    assert (imported.num_done, imported.failed) == (2, {})
    assert open_store(tmp_path / "store").clip_ids == ["a", "b"]
    assert imported.left_out.lines() == [
        f"{tmp_path / 'in'}: left out 1 file (beside NumPy files): c.csv",
        f"{tmp_path / 'in'}: left out 1 file (no file of features): d/e.mat",
    ]


def test_the_store_may_lie_inside_the_folder(folder):
    import_features(folder, folder / "f", ImportSettings())
    (folder / "f" / ".index.npz").write_bytes(b"not a clip")
    (folder / "f" / "seen.npy").write_bytes(b"not a clip")

    assert import_features(folder, folder / "f", ImportSettings()) == Imported(0, 2, {})


def test_export_writes_float32_that_imports_again(tmp_path):
    store = open_store(make_store(tmp_path / "f", {"hug/a.mp4": 7, "clap/#20_ü [x].avi": 3}))

    assert export_features(store, tmp_path / "out") == {}

    exported = np.load(tmp_path / "out" / "hug" / "a.mp4.npy")
    assert exported.dtype == np.float32
    np.testing.assert_array_equal(exported, rows_of("hug/a.mp4", 7))
    import_features(tmp_path / "out", tmp_path / "g", ImportSettings(fps=8))
    assert open_store(tmp_path / "g").lengths() == store.lengths()
    export_features(open_store(tmp_path / "g"), tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "hug" / "a.mp4.npy"), exported)
    assert_clip(tmp_path / "f", "hug/a.mp4", 7)


@pytest.mark.parametrize(("dtype", "shape"), [("uint8", (3, 5, 1)), ("float16", (6,)), ("float32", (6,))])
def test_export_goes_block_by_block_and_keeps_frames_as_they_are(tmp_path, monkeypatch, dtype, shape):
    monkeypatch.setattr("extract.store.numpy_files.BLOCK_BYTES", 50)  # 3 frames, or 2 rows of float32
    rows = np.random.default_rng(0).integers(0, 256, (7, *shape)).astype(dtype)
    with StoreWriter(tmp_path / "f", RECIPE, engine="none", dtype=dtype) as writer:
        writer.append("a", rows, np.arange(7), np.arange(7.0), SOURCE)
        writer.finish("a", None)

    export_features(open_store(tmp_path / "f"), tmp_path / "out")

    exported = np.load(tmp_path / "out" / "a.npy")
    assert exported.dtype == ("uint8" if dtype == "uint8" else "float32")
    np.testing.assert_array_equal(exported, rows)


def test_a_store_that_names_clips_outside_the_folder_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setattr("extract.store.writer.check_clip_id", lambda clip_id: None)
    make_store(tmp_path / "f", {"../evil": 3})
    monkeypatch.undo()

    assert list(export_features(open_store(tmp_path / "f"), tmp_path / "out")) == ["../evil"]
    assert not (tmp_path / "evil.npy").exists()


def test_a_clip_whose_name_is_no_files_fails_alone(tmp_path, capsys):
    make_store(tmp_path / "f", {"a/b": 3, "c": 3, "x" * 254: 3})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()

    assert main(["export-features", str(tmp_path / "f"), str(tmp_path / "out")]) == 1

    said = capsys.readouterr()
    assert "wrote 1 file below" in said.out
    assert "failed  a/b: " in said.err and "(File name too long)" in said.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c.npy"]


@pytest.mark.skipif(not RATS.is_dir(), reason="shared/data/rat_behaviour is not beside the checkout")
def test_the_rat_recordings_import(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rec12.npz").symlink_to(RATS / "rec12.npz")

    done = import_features(tmp_path / "in", tmp_path / "f", ImportSettings(fps=30, key="pose", nan="interpolate"))

    assert (done.num_done, done.failed) == (1, {})
    rows = open_store(tmp_path / "f").read("rec12").embeddings
    assert rows.shape == (12987, 60)
    original = np.load(RATS / "rec12.npz")["pose"]
    known = ~np.isnan(original)
    likelihoods = np.arange(30) % 3 == 2
    np.testing.assert_array_equal(rows[:, :30][:, ~likelihoods][known[:, ~likelihoods]], original[known & ~likelihoods])
    np.testing.assert_array_equal(rows[:, 30:][:, ~likelihoods] == 0, known[:, ~likelihoods])
    beside = np.isnan(original[:, 1::3]) & known[:, 2::3]
    assert np.all(original[:, 2::3][beside] == 1) and np.all(rows[:, 32::3][beside] == 1)  # a point that is not there


def test_features_that_lie_the_other_way_round_are_suspected_before_anything_is_stored(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        save(tmp_path / "in", np.ones((5 + number, 8), np.float32), f"{number}.npy")
    with pytest.raises(UsageError) as error:
        import_features(tmp_path / "in", tmp_path / "f", ImportSettings(transpose=True))
    assert str(error.value) == (
        "the first files all have 8 timesteps and 5 to 7 features, as if they were transposed: import them "
        "without --transpose. Nothing has been stored."
    )
    assert not (tmp_path / "f").exists()
    assert import_features(tmp_path / "in", tmp_path / "f", ImportSettings()).num_done == 3


def test_features_of_ms_tcn_are_recognised_as_transposed(tmp_path):
    """Files of one D and several T, or a single one with its label file beside it; a rerun stays with that."""
    for name, numbers in (("several", (5, 6, 7)), ("one", (5,))):
        (tmp_path / name / "features").mkdir(parents=True)
        (tmp_path / name / "groundTruth").mkdir()
        for frames in numbers:
            save(tmp_path / name / "features", np.ones((8, frames), np.float32), f"v{frames}.npy")
            (tmp_path / name / "groundTruth" / f"v{frames}.txt").write_text("cut\n" * frames)
        where = tmp_path / name / "features", tmp_path / f"{name}_store"
        done = import_features(*where, ImportSettings())
        assert done.understood == (
            "NumPy (D, T), transposed: time = a row per timestep, without a rate (--fps); width 8 "
            f"({len(numbers)} file{'s' * (len(numbers) > 1)})",
        )
        assert open_store(where[1]).lengths() == {f"v{frames}": frames for frames in numbers}
        save(where[0], np.ones((8, 9), np.float32), "new.npy")
        assert import_features(*where, ImportSettings()).num_done == 1 and open_store(where[1]).lengths()["new"] == 9


@pytest.mark.parametrize("broken", ["header", "deflate", "name"])
def test_a_broken_file_fails_alone_whatever_numpy_raises(folder, tmp_path, broken):
    """A header that ends early gives a TokenError, a damaged archive a zlib.error: neither stops the import."""
    if broken == "header":
        content = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), "
        (folder / "m.npy").write_bytes(content + b" " * 60 + b"\n")
    else:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=np.arange(3000.0).reshape(1000, 3))
        content = bytearray(buffer.getvalue())
        place = 200 if broken == "deflate" else 30
        content[place : place + 8] = b"\xff" * 8
        (folder / "m.npz").write_bytes(content)
    for _ in range(2):
        outcome = import_features(folder, tmp_path / "f", ImportSettings())
        assert list(outcome.failed) == ["m"] and "cannot be read as features" in outcome.failed["m"]
    assert sorted(open_store(tmp_path / "f").lengths()) == ["a", "sub/b.c"]


def test_a_file_in_place_of_the_export_s_folder_is_told_once_not_for_every_clip(tmp_path, capsys):
    make_store(tmp_path / "f")
    (tmp_path / "out").write_text("a file")

    code = main(["export-features", str(tmp_path / "f"), str(tmp_path / "out")])

    said = capsys.readouterr().err
    assert code == 1
    assert said.count("\n") == 1 and f"{tmp_path / 'out'} could not be written" in said
