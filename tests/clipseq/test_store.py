"""A store as a mapping, as a table, and as data sets of other libraries."""

import re
import sys

import numpy as np
import pytest
from places import ROOT

import clipseq
from extract.records import ClipEmbeddings


def test_a_store_is_a_mapping_of_float32_embeddings_with_their_times(project):
    store = clipseq.open_store("features")
    clip = store["rise/0.avi"]
    assert isinstance(clip, ClipEmbeddings) and clip.embeddings.dtype == np.float32
    assert clip.embeddings.shape == (4, 16) and clip.truth.codec == "mjpeg"
    np.testing.assert_allclose(clip.pts_seconds, np.arange(4) / 6)
    np.testing.assert_array_equal(clip.frame_indices, np.arange(4) * 2)
    assert len(store) == len(list(store)) == len(store.items()) == 24
    assert "rise/0.avi" in store and "rise/12.avi" not in store and store == store
    assert store.get("rise/12.avi") is None


@pytest.mark.parametrize("kind", (KeyError, clipseq.StoreError))
def test_an_unknown_clip_is_a_key_error_of_the_project(project, kind):
    with pytest.raises(kind) as caught:
        clipseq.open_store("features")["rise/0.mp4"]
    assert str(caught.value) == "features has no clip 'rise/0.mp4' among its 24 clips; did you mean rise/0.avi?"


def test_the_table_has_a_row_per_timestep(project):
    store = clipseq.open_store("features")
    table = store.to_pandas()
    assert list(table.columns) == ["clip_id", "frame_index", "pts_seconds", *range(16)]
    rows = table[table.clip_id == "fall/3.avi"]
    np.testing.assert_array_equal(rows[list(range(16))], store["fall/3.avi"].embeddings)


def test_without_pandas_a_table_is_refused_in_one_sentence(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(clipseq.UsageError) as caught:
        clipseq.open_store("features").to_pandas()
    assert str(caught.value) == "to_pandas needs pandas, which is not installed: pip install pandas"


def test_batches_for_tensorflow_are_padded_and_hold_every_clip_once(project):
    store = clipseq.open_store("features")
    labels = {clip.clip_id: int(clip.labels) for clip in store.labelled("labels.csv").clips}
    rows = []
    for (embeddings, mask), y in store.to_tf_dataset("labels.csv", batch_size=10):
        assert embeddings.shape[:2] == mask.shape and mask.shape[0] == y.shape[0]
        assert not embeddings[~mask.numpy()].numpy().any()
        rows += [(embeddings[row][mask[row]].numpy(), int(y[row])) for row in range(len(y))]
    for (embeddings, label), clip_id in zip(rows, store, strict=True):
        np.testing.assert_array_equal(embeddings, store[clip_id].embeddings)
        assert label == labels[clip_id]


def test_batches_for_tensorflow_have_a_label_per_real_timestep_and_minus_one_on_padding(project):
    batches = clipseq.open_store("features").to_tf_dataset("segments.csv", batch_size=24, task="many-to-many")
    ((_, mask), y), *others = batches.as_numpy_iterator()
    assert not others and y.shape == mask.shape and not mask.all()
    assert (y[~mask] == -1).all() and set(y[mask]) == {0, 1}


def test_shuffled_batches_differ_from_pass_to_pass_and_not_from_seed_to_seed(project):
    store = clipseq.open_store("features")

    def two_passes(seed):
        batches = store.to_tf_dataset("labels.csv", batch_size=24, seed=seed)
        return [next(batches.as_numpy_iterator())[1].tolist() for _ in range(2)]

    assert two_passes(1) == two_passes(1) and two_passes(1)[0] != two_passes(1)[1]


def test_a_keras_model_trains_on_the_batches(project):
    import keras

    batches = clipseq.open_store("features").to_tf_dataset("segments.csv", batch_size=8, task="many-to-many")
    mask, embeddings = keras.Input((None,), dtype="bool"), keras.Input((None, 16))
    hidden = keras.layers.LSTM(4, return_sequences=True)(embeddings, mask=mask)
    model = keras.Model([embeddings, mask], keras.layers.Dense(2)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model.compile("adam", loss)
    losses = model.fit(batches, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < losses[0] < 3


def test_a_batch_size_below_one_is_refused(project):
    with pytest.raises(clipseq.UsageError, match="batch_size 0 must be at least 1"):
        clipseq.open_store("features").to_tf_dataset("labels.csv", batch_size=0)


def test_the_documented_data_set_for_pytorch_gives_every_clip_with_its_label(project):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    code = next(block for block in re.findall(r"```python\n(.*?)```", _page(), re.DOTALL) if "import torch" in block)
    made = {}
    exec(code, made)
    first, y = next(iter(made["loader"]))
    embeddings, mask = first
    assert embeddings.dtype == torch.float32 and mask.dtype == torch.bool and y.dtype == torch.int64
    assert embeddings.shape[:2] == mask.shape and len(y) == 8
    assert sum(len(labels) for _, labels in made["loader"]) == 24


def _page():
    return (ROOT / "docs/python.md").read_text(encoding="utf-8")
