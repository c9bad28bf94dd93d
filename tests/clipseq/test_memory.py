"""`memory`: what embeddings may take in memory changes where they are, not what comes out."""

import pytest

import clipseq


@pytest.mark.slow
def test_a_small_store_gives_the_same_metrics_with_no_memory_for_embeddings(project, tmp_path):
    options = {"derived": "position,delta,windows", "chunk": 4, "model": "lstm", "updates": 12}
    scores, tables = [], []
    for name, memory in (("held", None), ("stored", 0)):
        path = tmp_path / name
        run = clipseq.train("features", "segments.csv", task="many-to-many", run=path, memory=memory, **options)
        where = "embeddings in memory" if memory is None else "embeddings stay in the store, read when needed"
        assert run.notes[1].endswith(where)
        scores.append(run.evaluate(memory=memory))
        tables.append(run.predict("features", memory=memory).to_pandas())
    assert (tables[0].label == tables[1].label).all()
    assert scores[0]["test"]["frame_accuracy"] == scores[1]["test"]["frame_accuracy"]
    for name, score in scores[0]["baselines"].items():
        assert score["macro_f1"]["value"] == pytest.approx(scores[1]["baselines"][name]["macro_f1"]["value"]), name
