"""Models as .keras files: each loads again in a fresh process and gives the same numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

from sequence_models.catalogue import TRAITS
from sequence_models.models.build import build_model
from sequence_models.settings import TrainSettings

pytestmark = pytest.mark.slow

SMALL = {"hidden": 4, "projection": 3, "units": 4, "filters": "3,4", "dense": "5", "backbone": "tiny", "head": "gru"}
FILTERS = {"td_convnet_gru": "3,4,5,4"}
LOAD = """
import sys, numpy as np, keras
import sequence_models.models.layers
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    given = np.load(path.with_suffix(".npz"))
    model = keras.saving.load_model(path, compile=False)
    np.save(path.with_suffix(".npy"), model([given["inputs"], given["mask"]], training=False))
"""
# Both tasks of a model have the same layers but for the read-out: every other model that has both is saved per frame.
BOTH = [name for name, traits in TRAITS.items() if traits.framewise]
CASES = [(name, "many-to-many" if name in BOTH[::2] else "many-to-one") for name in TRAITS]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """All models with inputs and outputs, saved here and loaded in another process."""
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    mask = np.arange(8) < np.array([[8], [3]])
    for name, task in CASES:
        more = {"stream": "td_cnn_lstm"} if name == "two_stream" else {}
        settings = TrainSettings(task, name, **{**SMALL, "filters": FILTERS.get(name, "3,4"), **more})
        dim = (8, 8, 6 if name == "two_stream" else 3) if TRAITS[name].on_frames else 5
        model = build_model(settings, embedding_dim=dim, num_classes=3, seed=1)
        shape = (2, 8, *(dim if isinstance(dim, tuple) else (dim,)))
        inputs = rng.integers(0, 256, shape, np.uint8) if len(shape) > 3 else rng.normal(size=shape).astype(np.float32)
        path = folder / f"{name}-{task}.keras"
        model.save(path)
        np.savez(path.with_suffix(".npz"), inputs=inputs, mask=mask, said=model([inputs, mask], training=False))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_saved_model_loads_in_a_fresh_process_and_says_the_same(saved, name, task):
    path = saved / f"{name}-{task}.npz"
    np.testing.assert_allclose(np.load(path.with_suffix(".npy")), np.load(path)["said"], rtol=1e-5, atol=1e-6)
