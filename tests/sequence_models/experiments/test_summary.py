"""The table of evaluate says which rows are decided over time."""

from sequence_models.experiments.summary import evaluation_text


def score(value):
    return {"frame_accuracy": {"value": value, "ci95": None}, "macro_f1": {"value": value, "ci95": None}}


def record_of(**more):
    counts = {"per_seed": {}, "test_clips": 4, "test_groups": 4, "test_opened": 1}
    return {"model": "lstm", "test": score(0.9), "baselines": {}, **counts, **more}


def test_the_model_is_named_like_the_baselines_with_and_without_post_processing():
    baselines = {"framewise_logreg": score(0.5), "framewise_logreg_postprocessed": score(0.6)}
    told = {"criterion": "macro-F1", "folds": {"split": "a median of 5"}}
    text = evaluation_text(record_of(before_postprocessing=score(0.8), postprocessing=told, baselines=baselines))
    assert [line.split()[:2] for line in text.splitlines()[1:5]] == [
        ["lstm_postprocessed", "0.900"],
        ["lstm", "0.800"],
        ["framewise_logreg", "0.500"],
        ["framewise_logreg_postprocessed", "0.600"],
    ]
    assert text.splitlines()[5] == (
        "with _postprocessed: labels decided over time; without: of every timestep by itself"
    )


def test_without_post_processing_there_is_one_row():
    lines = evaluation_text(record_of()).splitlines()
    assert lines[1].split()[0] == "lstm" and "_postprocessed" not in "".join(lines)
