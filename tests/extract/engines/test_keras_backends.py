"""Keras on JAX and on PyTorch computes and trains as on TensorFlow; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from clip_factory import make_clips
from frame_clips import frame_clips
from places import ROOT

from extract.backbones.registry import load_backbone
from extract.engines.engine import ROUNDING
from extract.engines.registry import make_engine
from sequence_models.clips.batches import pad_clips
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel
from sequence_models.settings import TrainSettings
from sequence_models.training.step import Trainer, numbered

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
BACKENDS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"needs {name}, not installed here"))
    for name in ("jax", "torch")
]

EMBED = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from extract.backbones.registry import load_backbone
from extract.engines.engine import ROUNDING
from extract.engines.registry import make_engine
from test_keras_backends import backend_forbids_tf32
frames, tiny = np.load("frames.npy"), load_backbone("tiny")
engine = make_engine(tiny, batch_size=4)
tf32_is_off = backend_forbids_tf32()
with ThreadPoolExecutor(2) as threads:  # as a job calls it on a GPU
    rows, beside_others = threads.map(engine, (frames, np.concatenate([frames[:1], 255 - frames[1:]])))
mixed = make_engine(tiny, batch_size=4, precision="mixed_bfloat16")(frames)
np.savez("said.npz", rows=rows, beside_others=beside_others, mixed=mixed, engine=engine.name, kind=engine.kind,
         tf32_is_off=tf32_is_off)
"""

TRAIN = """
import numpy as np
import test_keras_backends
np.savez("said.npz", **test_keras_backends.trained({name!r}, {weights!r}, lengths=(6, 12)))
"""

REFUSED = """
from extract.errors import UsageError
from sequence_models.models.build import build_model
from sequence_models.training.fine_tuning import start_training
from sequence_models.settings import TrainSettings
from sequence_models.training.step import Trainer, numbered
settings = TrainSettings("many-to-one", "td_convnet_gru", filters="2", units=2, dense="2")
try:
    start_training(build_model(settings, embedding_dim=(8, 8, 3), num_classes=2), settings, [])
except UsageError as error:
    print(error)
"""


def run(backend, code, folder):
    """What the code prints; it runs in the folder."""
    path = os.pathsep.join([str(ROOT), str(TESTS), str(ROOT / "tests" / "helpers")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        **{"capture_output": True, "text": True, "cwd": folder},
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def backend_forbids_tf32():
    """Whether float32 means float32 on this process's backend, on GPUs of Ampere and later."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.config.jax_default_matmul_precision == "highest"
    if backend == "torch":
        import torch

        return not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
    import tensorflow as tf

    return not tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_backend_embeds_as_tensorflow_does(backend, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    run(backend, EMBED, tmp_path)
    said = np.load(tmp_path / "said.npz")
    expected = make_engine(load_backbone("tiny"), kind="keras", batch_size=4)(frames)
    largest = np.abs(expected).max()
    assert said["tf32_is_off"] and backend_forbids_tf32()
    assert said["kind"] == "keras" and f"({backend} " in str(said["engine"])
    assert said["rows"].dtype == said["mixed"].dtype == np.float32
    assert np.abs(said["rows"] - expected).max() < 1e-4 * largest
    assert np.abs(said["rows"][0] - said["beside_others"][0]).max() < ROUNDING * largest
    assert 0 < np.abs(said["mixed"] - expected).max() < 0.05 * largest


def architecture(name):
    """Without dropout, whose noise every backend draws in its own way."""
    sizes = {"hidden": 4, "projection": 4, "units": 4, "filters": "3,4", "learning_rate": 0.02}
    settings = TrainSettings("many-to-many", name, dropout=0.0, channel_dropout=0.0, **sizes)
    return Architecture(settings, 5 if name == "bilstm" else (8, 8, 3), num_classes=3)


def fresh(name):
    """A model with random weights."""
    how = architecture(name)
    return build_model(how.settings, embedding_dim=how.embedding_dim, num_classes=3)


def trained(name, weights, *, lengths):
    """Losses of 8 training steps from these weights, and what is said of the real steps then, for batches so long."""
    twin, start = CompiledModel(architecture(name)), fresh(name)
    start.load_weights(weights)
    clips = (make_clips if name == "bilstm" else frame_clips)((3, 6, 1, 4), "many-to-many")
    said, trainer = {}, Trainer(twin)
    for steps in lengths:
        twin.load(start)
        trainer.reset()
        batch = pad_clips(clips, rows=4, steps=steps)
        batch.embeddings[~batch.mask] = 77
        said[f"losses{steps}"] = [trainer.update(batch) for _ in range(8)]
        said[f"logits{steps}"] = twin.logits(batch)[batch.mask]
    if name == "bilstm":  # the same 8 steps in one call, from a table of timesteps
        twin.load(start)
        trainer.reset()
        batch = pad_clips(numbered(clips), rows=4, steps=6)
        table = trainer.hold(twin.standardised_rows(clips))
        said["together"] = trainer.updates(table, 8 * [batch], 8 * [twin.settings.learning_rate])
    return said


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """By model: the weights that training begins with, and what comes of them here."""
    folder = tmp_path_factory.mktemp("here")
    said = {}
    for name in ("bilstm", "td_cnn_lstm"):
        fresh(name).save_weights(folder / f"{name}.weights.h5")
        said[name] = folder / f"{name}.weights.h5", trained(name, folder / f"{name}.weights.h5", lengths=(6,))
    return said


@pytest.mark.parametrize("name", ["bilstm", "td_cnn_lstm"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_backend_trains_as_tensorflow_does_and_padding_changes_nothing(backend, name, tmp_path, expected):
    weights, here = expected[name]
    run(backend, TRAIN.format(name=name, weights=str(weights)), tmp_path)
    said = np.load(tmp_path / "said.npz")
    assert said["losses6"][-1] < 0.9 * said["losses6"][0]
    for each in (said, here):
        np.testing.assert_allclose(each.get("together", each["losses6"]), each["losses6"], rtol=1e-4)
    for steps in (6, 12):
        np.testing.assert_allclose(said[f"losses{steps}"], here["losses6"], atol=1e-4)
        np.testing.assert_allclose(said[f"logits{steps}"], here["logits6"], atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_jax_says_that_it_cannot_train_statistics_of_real_frames(backend, tmp_path):
    assert run(backend, REFUSED, tmp_path) == (
        "KERAS_BACKEND=jax cannot train td_convnet_gru if batch normalisation uses the statistics of real frames "
        "only, whose number varies; use KERAS_BACKEND=tensorflow or torch, or choose another --model or --stream.\n"
    )
