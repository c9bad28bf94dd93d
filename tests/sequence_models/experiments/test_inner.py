"""Inner cross-validation: what is best is chosen on all clips that are not for testing."""

import numpy as np
import pytest

import pipeline
from extract.errors import UsageError
from extract.store.numpy_files import ImportSettings, import_features
from sequence_models.experiments.prepare import prepare
from sequence_models.experiments.train import read_choices
from sequence_models.runs.run import FINAL, read_run
from sequence_models.settings import TrainSettings

SETTINGS = TrainSettings(model="meanpool", hidden=6, projection=0, updates=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two classes in eight groups of three clips, the class in the folder."""
    home = tmp_path_factory.mktemp("inner")
    for group in range(8):
        for number in range(3):
            label = (group + number) % 2
            rng = np.random.default_rng((group, number))
            path = home / "in" / ("fall", "rise")[label] / f"g{group}_{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.normal(label, 1, (5 + number, 4)).astype(np.float32))
    import_features(home / "in", home / "store", ImportSettings())
    return home / "store"


def prepared(store, path, **how):
    return prepare([store], None, SETTINGS, run=path, data=None, **how)[0]


def test_a_comparison_on_few_clips_holds_all_of_them_out_in_turn(store, tmp_path):
    run = prepared(store, tmp_path / "run", cv="4", inner=None)
    assert (run.seeds, run.inner, run.fits) == (1, 5, 5)
    for fold in run.folds:
        held_out = [clip_id for seed in range(run.fits) for clip_id in fold.of_seed(seed).validation]
        assert sorted(held_out) == sorted(fold.known)


def test_inner_parts_are_of_equal_size(store, tmp_path):
    run = prepared(store, tmp_path / "run", cv="4", inner=3)
    assert run.fits == 3
    for fold in run.folds:
        sizes = [len(fold.of_seed(seed).validation) for seed in range(3)]
        assert sum(sizes) == len(fold.known) and max(sizes) - min(sizes) <= 1


def test_seeds_that_hold_out_every_part_already_cost_nothing_more(store, tmp_path):
    assert prepared(store, tmp_path / "run", cv="4", seeds=7, inner=5).fits == 7


def test_models_of_all_clips_are_one_per_seed(store, tmp_path):
    run = prepared(store, tmp_path / "run", cv="4", seeds=2, inner=5)
    assert [fit for fit in run.all_fits if fit[0] == FINAL] == [(FINAL, 0), (FINAL, 1)]
    assert len(run.all_fits) == 4 * 5 + 2


def test_a_split_with_its_own_validation_part_cannot_be_turned(store, tmp_path):
    split = tmp_path / "split.csv"
    clip_ids = sorted(read.stem for read in store.parent.glob("in/*/*.npy"))
    parts = ["validation", "test", *["train"] * 22]
    named = {path.stem: f"{path.parent.name}/{path.stem}" for path in store.parent.glob("in/*/*.npy")}
    rows = (f"{named[clip_id]},{part}" for clip_id, part in zip(clip_ids, parts, strict=True))
    split.write_text("clip_id,split\n" + "\n".join(rows) + "\n")
    assert prepared(store, tmp_path / "one", split_file=split, inner=None).fits == 1
    with pytest.raises(UsageError, match="--inner 4 holds out the training clips in turn, but the split has a fixed"):
        prepared(store, tmp_path / "run", split_file=split, inner=4)


@pytest.mark.slow
def test_a_comparison_chooses_on_every_clip_that_is_not_for_testing(store, tmp_path, capsys, caplog):
    few = ["--models", "meanpool", "--updates", "4", "--jobs", "1"]
    how = ["--task", "many-to-one", "--cv", "2", "--inner", "2", *few]
    assert pipeline.main(["-v", "compare", str(store), *how, "--run", str(tmp_path / "all")]) == 0
    run = read_run(tmp_path / "all" / "meanpool")
    assert run.fits == 2 and run.path.joinpath("models", "final-seed0.json").exists()
    assert not run.path.joinpath("models", "final-seed1.json").exists()
    assert read_choices(run)["model"].keys() == {fold.name for fold in run.folds}
    said = capsys.readouterr().out
    assert "inner cross-validation: 2 models per fold, each validates on another part" in said
    assert "5 fits" in said  # two folds with two parts each, and one of all clips
    costs = [text for text in caplog.messages if "4 updates in" in text]
    assert len(costs) == 5 and "calls with validation" in costs[0]
    assert pipeline.main(["predict", str(run.path), str(store), "--output", str(tmp_path / "said.csv")]) == 0


def test_no_part_is_not_a_number_of_parts(capsys):
    assert pipeline.main(["train", "store", "--task", "many-to-one", "--inner", "0", "--run", "run"]) == 2
    assert "--inner 0 must be at least 1" in capsys.readouterr().err
