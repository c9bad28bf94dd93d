import pytest

from extract.errors import UsageError
from sequence_models.catalogue import MODEL_NAMES, TRAITS
from sequence_models.experiments.grid import grid_points, models_for, parse_grid
from sequence_models.settings import TrainSettings


def test_values_get_the_type_of_their_setting():
    grid = parse_grid(["hidden=48,96", "dropout=.3, .5", "readout=mean,last", "learning-rate=1e-3", "causal=yes,no"])
    assert grid == {
        "hidden": [48, 96],
        "dropout": [0.3, 0.5],
        "readout": ["mean", "last"],
        "learning_rate": [0.001],
        "causal": [True, False],
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["size=3"], "--grid 'size=3': 'size' is unknown; settings are readout, hidden"),
        (["model=lstm"], "'model' is unknown"),
        (["hidden=3", "hidden=4"], "--grid 'hidden=4': 'hidden' is given twice"),
        (["hidden=many"], "--grid 'hidden=many': the values of hidden must be ints, separated by commas"),
        (["hidden"], "the values of hidden must be ints"),
        (["causal=maybe"], "the values of causal must be yes or no"),
    ],
)
def test_a_wrong_grid_is_refused(texts, message):
    with pytest.raises(UsageError, match=message):
        parse_grid(texts)


def test_every_model_gets_every_point_it_can_take():
    given = {"task": "many-to-many"}
    points = grid_points(["lstm", "bilstm"], given, {"causal": [False, True], "hidden": [8]})
    assert {model: list(folders) for model, folders in points.items()} == {
        "lstm": ["lstm,causal=False,hidden=8", "lstm,causal=True,hidden=8"],
        "bilstm": ["bilstm,causal=False,hidden=8"],  # it sees what comes later
    }
    settings = TrainSettings("many-to-many", "lstm", causal=True, hidden=8)
    assert points["lstm"]["lstm,causal=True,hidden=8"] == settings


def test_a_model_that_can_take_no_point_is_an_error():
    with pytest.raises(UsageError, match="cannot be causal"):
        grid_points(["bilstm"], {"task": "many-to-many"}, {"causal": [True]})
    with pytest.raises(UsageError, match="model 'nosuch' is unknown"):
        grid_points(["nosuch"], {}, {})


def test_the_models_of_a_task_are_those_that_can_do_it():
    framewise = [name for name in MODEL_NAMES if TRAITS[name].framewise]
    assert models_for({"task": "many-to-many"}, among=MODEL_NAMES) == framewise
    assert models_for({"task": "many-to-many", "causal": True}, among=MODEL_NAMES) == ["lstm", "gru", "mstcn"]
    assert models_for({}, among=MODEL_NAMES) == list(MODEL_NAMES)


def test_settings_that_no_model_can_take_are_refused():
    with pytest.raises(UsageError, match="hidden must be at least 1, got 0"):
        models_for({"hidden": 0}, among=MODEL_NAMES)


def test_what_only_raw_frame_models_take_is_left_to_them():
    points = grid_points(["bilstm", "conv3d"], {"flip": True, "fixed_frames": 5}, {})
    assert [points[m][m].flip for m in ("bilstm", "conv3d")] == [False, True]
    assert [points[m][m].fixed_frames for m in ("bilstm", "conv3d")] == [0, 5]


def test_a_setting_that_no_model_takes_is_refused():
    with pytest.raises(UsageError, match=r"--flip is for td_cnn_lstm, .*; none of bilstm, attention takes it"):
        grid_points(["bilstm", "attention"], {"flip": True}, {})
