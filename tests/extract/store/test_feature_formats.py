"""Features of other tools: what is taken as time, as width and as names, and ten ways for each format to be wrong."""

import json
import sys

import h5py
import numpy as np
import pytest

from extract.errors import RecipeMismatchError, UsageError
from extract.store.feature_files import open_features
from extract.store.import_settings import ImportSettings
from extract.store.numpy_files import import_features
from extract.store.reader import open_store
from extract.store.recipe import has_rate

NAN = float("nan")
POSE = np.arange(24, dtype=float).reshape(2, 12)  # 2 frames x 2 animals x 2 keypoints x (x, y, likelihood)
DLC = (
    "scorer,DLC_r50,DLC_r50,DLC_r50,DLC_r50,DLC_r50,DLC_r50\n"
    "bodyparts,nose,nose,nose,tail,tail,tail\n"
    "coords,x,y,likelihood,x,y,likelihood\n"
    "0,1.5,2,0.9,3,4,0.8\n1,,,,5,6,0.7\n2,7,8,0.99,9,10,1.0\n"
)


def put(tmp_path, content, name="a.csv"):
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in" / name).write_bytes(content.encode() if isinstance(content, str) else content)


def done(tmp_path, store="f", **settings):
    imported = import_features(tmp_path / "in", tmp_path / store, ImportSettings(**settings))
    return imported, open_store(tmp_path / store)


def write_sleap(path, pose=POSE, *, order=None, nodes=("nose", "tail"), animals=("A", "B"), scores=True):
    """`pose` is (frames, animals x nodes x 3); `order` is that of the axes if the file says it."""
    cube = pose.reshape(len(pose), max(len(animals), 1), len(nodes), 3)  # frame, track, node, xy
    axes = ("frame", "track", "node", "xy")
    stored = order or ("track", "xy", "node", "frame")
    with h5py.File(path, "w") as file:
        tracks = file.create_dataset("tracks", data=cube[..., :2].transpose([axes.index(a) for a in stored]))
        if order:
            tracks.attrs["dims"] = json.dumps(order)
        if scores:
            flat = [axes.index(a) for a in stored if a != "xy"]
            file["point_scores"] = cube[..., 2].transpose(flat)
        file["track_names"] = np.array(animals, "S") if animals else np.zeros(0)
        file["node_names"] = np.array(nodes, "S")
        file["track_occupancy"] = np.ones((len(pose), max(len(animals), 1)), np.uint8)


def write_deepethogram(path, models=("resnet18",), frames=4):
    with h5py.File(path, "w") as file:
        file["tgmj/P"] = np.zeros((frames, 3))
        for number, model in enumerate(models):
            file[f"{model}/spatial_features"] = np.full((frames, 5), number, np.float32)
            file[f"{model}/flow_features"] = np.full((frames, 2), 9, np.float32)


def test_deeplabcut_names_keypoints_and_likelihoods_and_the_clip_is_the_video(tmp_path):
    put(tmp_path, DLC, "cage1DLC_r50.csv")
    imported, store = done(tmp_path, fps=25)
    assert imported.understood == (
        "DeepLabCut CSV: time = frames from the first column, 25 per second; width 6 = 2 keypoints x x, y, likelihood "
        "(1 file)",
    )
    assert store.recipe["columns"] == ["nose x", "nose y", "nose likelihood", "tail x", "tail y", "tail likelihood"]
    clip = store.read("cage1")
    np.testing.assert_allclose(clip.pts_seconds, [0, 0.04, 0.08])
    assert clip.embeddings[:, :6].tolist()[1] == pytest.approx([0, 0, 0, 5, 6, 0.7])
    assert clip.embeddings[:, 6:].tolist()[1] == [1, 1, 1, 0, 0, 0]


def test_deeplabcut_with_several_animals_names_them(tmp_path):
    lines = DLC.splitlines()
    put(tmp_path, "\n".join([lines[0], "individuals,A,A,A,B,B,B", *lines[1:]]))
    imported, store = done(tmp_path)
    assert "2 animals x 2 keypoints x x, y, likelihood" in imported.understood[0]
    assert store.recipe["columns"][:1] + store.recipe["columns"][-1:] == ["A nose x", "B tail likelihood"]


def test_the_h5_that_deeplabcut_writes_beside_its_csv_is_left_out(tmp_path):
    put(tmp_path, DLC, "a.csv")
    put(tmp_path, b"pickled", "a.h5")
    imported, store = done(tmp_path)
    assert (imported.failed, store.clip_ids) == ({}, ["a"])
    assert imported.left_out.lines() == [f"{tmp_path / 'in'}: left out 1 file (an .h5 beside a .csv of its name): a.h5"]


@pytest.mark.parametrize("order", [None, ("frame", "track", "node", "xy"), ("node", "frame", "xy", "track")])
def test_sleap_gives_animals_keypoints_and_scores_whatever_the_order_of_its_axes(tmp_path, order):
    (tmp_path / "in").mkdir()
    write_sleap(tmp_path / "in" / "v.analysis.h5", order=order)
    imported, store = done(tmp_path, fps=10)
    assert imported.understood == (
        "SLEAP analysis: time = a row per timestep, 10 per second; width 12 = 2 animals x 2 keypoints x x, y, "
        "likelihood (1 file)",
    )
    assert store.recipe["columns"][:4] == ["A nose x", "A nose y", "A nose likelihood", "A tail x"]
    np.testing.assert_array_equal(store.read("v").embeddings, POSE)


def test_sleap_without_tracks_or_scores_is_one_animal_with_coordinates(tmp_path):
    (tmp_path / "in").mkdir()
    write_sleap(tmp_path / "in" / "v.h5", POSE[:, :6], animals=(), scores=False)
    imported, store = done(tmp_path)
    assert imported.understood[0].endswith("width 4 = 2 keypoints x x, y (1 file)")
    assert store.recipe["columns"] == ["nose x", "nose y", "tail x", "tail y"]


def test_poses_of_both_tools_meet_in_one_store_by_name(tmp_path):
    put(tmp_path, DLC, "a.csv")
    write_sleap(tmp_path / "in" / "b.h5", POSE[:, [3, 4, 5, 0, 1, 2]], animals=(), nodes=("tail", "nose"))
    imported, store = done(tmp_path)
    assert imported.failed == {}
    assert store.read("b").embeddings[0, :6].tolist() == POSE[0, :6].tolist()


def test_deepethogram_gives_both_streams(tmp_path):
    (tmp_path / "in").mkdir()
    write_deepethogram(tmp_path / "in" / "cage1_outputs.h5")
    imported, store = done(tmp_path, fps=30)
    assert imported.understood[0].startswith(
        "DeepEthogram outputs: time = a row per timestep, 30 per second; width 7 ="
    )
    assert store.read("cage1").embeddings[0].tolist() == [0, 0, 0, 0, 0, 9, 9]
    write_deepethogram(tmp_path / "in" / "cage2_outputs.h5", ("resnet18", "resnet50"))
    assert "has features of resnet18, resnet50: choose one with --key" in done(tmp_path, fps=30)[0].failed["cage2"]
    assert done(tmp_path, "g", fps=30, key="resnet50")[1].read("cage2").embeddings[0, 0] == 1


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_with_seconds_has_its_own_times(tmp_path, separator):
    put(tmp_path, "time,speed,angle\n0,1,2\n0.5,3,4\n2,5,6\n".replace(",", separator))
    imported, store = done(tmp_path)
    assert imported.understood == ("CSV: time = seconds from column 'time'; width 2 = speed, angle (1 file)",)
    assert has_rate(store.recipe) and store.read("a").pts_seconds.tolist() == [0, 0.5, 2]
    assert store.read("a").frame_indices.tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match=r"has its own times \(column 'time'\): leave --fps out"):
        done(tmp_path, "g", fps=5)


def test_a_table_with_frame_numbers_keeps_them_and_its_gaps(tmp_path):
    put(tmp_path, "frame,speed\n10,1\n12,2\n")
    _, store = done(tmp_path, fps=4)
    assert store.read("a").frame_indices.tolist() == [10, 12] and store.read("a").pts_seconds.tolist() == [2.5, 3]


def test_parquet_is_read_like_a_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    (tmp_path / "in").mkdir()
    table = pandas.DataFrame({"time": [0.0, 0.1], "speed": [1, None], "is_near": [True, False]})
    table.to_parquet(tmp_path / "in" / "a.parquet")
    imported, store = done(tmp_path)
    assert imported.understood[0] == ("Parquet: time = seconds from column 'time'; width 2 = speed, is_near (1 file)")
    assert store.read("a").embeddings.tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]


def test_parquet_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    put(tmp_path, b"PAR1", "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"Parquet needs pyarrow: pip install 'clipseq\[parquet\]'"):
        done(tmp_path)


def test_columns_are_found_by_name_in_every_file_and_other_names_fail_alone(tmp_path):
    put(tmp_path, "speed,angle\n1,2\n", "a.csv")
    put(tmp_path, "angle,speed\n4,3\n", "b.csv")
    put(tmp_path, "angle,pace\n4,3\n", "c.csv")
    imported, store = done(tmp_path)
    assert store.read("b").embeddings.tolist() == [[3, 4]]
    assert "lacks speed and has pace besides, but the store holds 2 columns by name" in imported.failed["c"]
    assert list(done(tmp_path)[0].failed) == ["c"]  # the store remembers the names
    with pytest.raises(RecipeMismatchError, match="fps="):
        done(tmp_path, fps=3)


def test_labels_beside_the_features_are_no_features(tmp_path):
    put(tmp_path, "speed\n1\n", "a.csv")
    put(tmp_path, "clip_id,label\na,run\n", "labels.csv")
    imported, store = done(tmp_path)
    assert (imported.failed, store.clip_ids) == ({}, ["a"])


def test_a_long_table_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("extract.store.table_features.ROWS_PER_BLOCK", 2)
    put(tmp_path, "v,w\n" + "".join(f"{n},{n / 3}\n" for n in range(7)))
    with open_features(tmp_path / "in" / "a.csv") as features:
        assert np.concatenate(list(features.blocks()))[:, 0].tolist() == list(range(7))
        assert len(next(iter(features.blocks()))) == 7  # and once more, from the temporary file


WRONG_TABLES = {
    "": "is empty",
    "a,b\n": "has a header but no row",
    "a,b\n1\n": "line 2 has 1 cells but the header has 2",
    "a,b\n1,2\n3,x\n": "line 3: column 'b' is 'x', but features are numbers",
    "a;b\n1,5;2\n": "column 'a' is '1,5', but features are numbers: remove the column, and write decimal points",
    "a,a\n1,2\n": "has two columns 'a'",
    "a,,b\n1,2,3\n": "has no name for column 2",
    "time,seconds,a\n1,1,1\n": "has several columns of time ('time' and 'seconds')",
    "frame\n1\n": "has no column of features",
    "frame,a\n1,1\n1,2\n": "column 'frame' goes from 1 to 1 in row 2, but each row must be later",
    "frame,a\n0.5,1\n": "column 'frame' is 0.5 in row 1; it must be a whole number >= 0",
    "time,a\n-1,1\n": "column 'time' is -1 in row 1; it must be a number of seconds >= 0",
    "time,a\n1700000000,1\n": "reaches 1.7e+09 s, which is no time in a video",
    "1,2\n3,4\n": "has numbers in its first line",
    'a,b\n"1,2\n': "is no valid CSV",
    b"a,b\n\xff\xfe,2\n": "is not UTF-8 text",
    "a\ninf\n": "a row contains inf",
    DLC.replace("bodyparts", "points"): "its lines are scorer, points, coords; they must be scorer, individuals",
    DLC.replace("coords,x", "coords,z"): "has coords 'z'; known are x, y, likelihood",
    DLC.replace("nose,nose,nose", "nose,nose"): "has header lines of 6 and 7 cells",
    DLC.replace("0.7\n", "0.7,1\n"): "line 5 has 8 cells but the header has 7",
    DLC.replace("tail,tail,tail", "nose,nose,nose"): "has two columns 'nose x'",
}


@pytest.mark.parametrize("content", WRONG_TABLES, ids=range(len(WRONG_TABLES)))
def test_ways_for_a_table_to_be_wrong(tmp_path, content):
    put(tmp_path, content)
    failed = done(tmp_path)[0].failed["a"]
    assert WRONG_TABLES[content] in failed and "\n" not in failed


def _declares_more(file):
    del file["tracks"]
    file.create_dataset("tracks", (2, 2, 2, 10**9), dtype="f8", chunks=(1, 1, 1, 1024))


def _linked(file):
    del file["tracks"]
    file["tracks"] = h5py.ExternalLink("/etc/passwd", "/")


def _outside(file):
    del file["tracks"]
    file.create_dataset("tracks", (2, 2, 2, 2), "f8", external=[("/etc/passwd", 0, 128)])


def _without(*names):
    def change(file):
        for name in names:
            del file[name]

    return change


def _instead(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


WRONG_SLEAP = [
    (_declares_more, "declares"),
    (_linked, "tracks is missing or only a link"),
    (_outside, "tracks is not stored in this file"),
    (_without("node_names"), "holds point_scores, track_names, track_occupancy, tracks, which is neither SLEAP's"),
    (_without("track_names"), "track_names is missing"),
    (_instead("node_names", np.array([b"nose"])), "but names of 2 tracks and 1 nodes"),
    (_instead("node_names", np.array([b"nose", b"nose"])), "node_names holds a name twice"),
    (_instead("node_names", np.zeros(2)), "node_names is float64 (2,), not a list of names"),
    (_instead("point_scores", np.zeros((2, 2, 9))), "has point_scores (2, 2, 9) beside tracks (2, 2, 2, 2)"),
    (_instead("tracks", np.zeros((2, 2))), "tracks (2, 2) have the axes"),
    (lambda file: file["tracks"].attrs.update(dims="[1]"), "have the axes [1]"),
    (lambda file: file["tracks"].attrs.update(dims="{"), "cannot be read as features"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG_SLEAP, ids=range(len(WRONG_SLEAP)))
def test_ways_for_a_sleap_file_to_be_wrong(tmp_path, change, sentence):
    (tmp_path / "in").mkdir()
    write_sleap(tmp_path / "in" / "a.h5")
    with h5py.File(tmp_path / "in" / "a.h5", "a") as file:
        change(file)
    failed = done(tmp_path)[0].failed["a"]
    assert sentence in failed and "\n" not in failed


def test_an_h5_of_pickled_names_asks_for_the_csv(tmp_path):
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        file["df_with_missing/table"] = np.zeros(3)
    assert "whose names are pickled and would run code: give the CSV instead" in done(tmp_path)[0].failed["a"]


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PAR1" * 9], ids=["empty", "torn", "other"])
@pytest.mark.parametrize("ending", ["h5", "parquet"])
def test_torn_files_fail_alone(tmp_path, content, ending):
    pytest.importorskip("pyarrow")
    put(tmp_path, "v\n1\n", "good.csv")
    put(tmp_path, content, f"a.{ending}")
    imported, store = done(tmp_path)
    assert "cannot be read as" in imported.failed["a"] and store.clip_ids == ["good"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"v": ["x"]}, "column 'v' holds string, but features are numbers"),
        ({"v": [[1.0]]}, "column 'v' holds list<element: double>, but features are numbers"),
        ({"time": [1.0]}, "has no column of features"),
        ({"time": [2.0, 1.0], "v": [1, 1]}, "goes from 2 to 1 in row 2"),
        ({"frame": [0.0, None], "v": [1, 1]}, "column 'frame' is nan in row 2; it must be a whole number"),
        ({"v": []}, "holds null"),
    ],
)
def test_ways_for_a_parquet_table_to_be_wrong(tmp_path, columns, sentence):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in").mkdir()
    parquet.write_table(pyarrow.table(columns), tmp_path / "in" / "a.parquet")
    assert sentence in done(tmp_path)[0].failed["a"]
