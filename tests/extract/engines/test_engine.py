"""The engines: one batch size, the same numbers from each, no row that depends on another, no chatter."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from places import ROOT

from extract.backbones.backbone import Backbone
from extract.backbones.keras_applications import FAMILIES
from extract.backbones.registry import build_untrained, load_backbone
from extract.engines import keras_engine, litert, registry
from extract.engines.engine import ROUNDING, Engine
from extract.engines.registry import make_engine
from extract.errors import BackboneError
from extract.system.cache import cache_folder


def frames_for(backbone: Backbone, rows: int, seed: int = 0) -> np.ndarray:
    """Smooth random images: what a backbone sees in life, at its own size."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (rows, 6, 6, 3), dtype=np.uint8)
    size = (backbone.image_size, backbone.image_size)
    return np.stack([cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in coarse])


def random_family(name: str, image_size: int) -> Backbone:
    @cache  # both engines compute the same weights, drawn once
    def build():
        import keras

        keras.utils.set_random_seed(0)
        return build_untrained(name, image_size=image_size)

    return Backbone(name, "random", image_size, FAMILIES[name].embedding_dim if name in FAMILIES else 1280, build)


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone("efficientnet_lite0")


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEQ_CACHE", str(tmp_path))


@pytest.mark.parametrize("kind", ["keras", "litert"])
def test_an_engine_gives_float32_embeddings_of_its_batch(kind):
    backbone = load_backbone("tiny")
    engine = make_engine(backbone, kind=kind, batch_size=5)
    embeddings = engine(frames_for(backbone, 5))
    assert embeddings.dtype == np.float32 and embeddings.shape == (5, 16)
    assert (engine.kind, engine.batch_size, engine.frame_shape) == (kind, 5, (8, 8, 3))


@pytest.mark.parametrize("kind", ["keras", "litert"])
def test_an_engine_computes_what_the_keras_model_does(kind):
    backbone = load_backbone("tiny")
    frames = frames_for(backbone, 4)
    expected = np.asarray(backbone.build()(frames, training=False))
    assert np.allclose(make_engine(backbone, kind=kind, batch_size=4)(frames), expected, rtol=1e-5, atol=1e-6)


SMALLEST_OF_EACH_KIND = (
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnetv2_b0", "inception_v3",
    "mobilenet", "mobilenet_v2", "mobilenet_v3_small", "nasnet_mobile", "resnet50", "resnet50_v2", "vgg16", "xception",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["tiny", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", *SMALLEST_OF_EACH_KIND]
)
def test_litert_equals_keras_within_1e_4(name):
    """One of each architecture; their larger sisters are made of the same layers.

    inception_resnet_v2 has one layer more than inception_v3, a scaled sum: the next test.
    """
    smallest = FAMILIES[name].smallest if name in FAMILIES else 32
    backbone = load_backbone(name) if name in ("tiny", "efficientnet_lite0") else random_family(name, smallest)
    frames = frames_for(backbone, 4)
    keras_rows = np.asarray(backbone.build()(frames, training=False))  # untraced, which would take most of the time
    litert_rows = make_engine(backbone, kind="litert", batch_size=4)(frames)
    assert np.abs(litert_rows - keras_rows).max() < 1e-4 * np.abs(keras_rows).max()


def test_litert_computes_the_scaled_sum_of_inception_resnet_v2():
    import keras
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    pictures = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(pictures)
    total = CustomScaleLayer(scale=0.17)([pictures, x])
    model = keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(total))
    backbone = Backbone("sum", "random", 8, 3, lambda: model)
    frames = frames_for(backbone, 4)
    keras_rows = np.asarray(model(frames.astype(np.float32)))
    assert np.abs(make_engine(backbone, kind="litert", batch_size=4)(frames) - keras_rows).max() < 1e-4 * 255


@pytest.mark.parametrize("name", ["tiny", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "bound"), [("keras", ROUNDING), ("litert", 0.0)])
def test_what_a_row_holds_depends_on_its_frame_alone(name, kind, bound):
    """To the bit with LiteRT, to rounding with Keras: wherever it stands, and whoever and how many are beside it."""
    backbone = load_backbone(name)
    engine = make_engine(backbone, kind=kind, batch_size=4)
    frames, others = frames_for(backbone, 4), frames_for(backbone, 4, seed=1)
    together = engine(frames).copy()
    allowed = bound * np.abs(together).max()
    alone = make_engine(backbone, kind=kind, batch_size=1)
    for row in range(4):
        for place in (row, 3 - row):
            mixed = others.copy()
            mixed[place] = frames[row]
            assert np.abs(engine(mixed)[place] - together[row]).max() <= allowed
        assert np.abs(alone(frames[row : row + 1])[0] - together[row]).max() <= allowed
    assert np.abs(together[0] - together[1]).max() > 1e-3 * np.abs(together).max()  # other frames, other rows


def test_litert_gives_the_same_bits_on_any_number_of_cores(lite0, monkeypatch):
    frames, rows = frames_for(lite0, 4), []
    for cores, copies in ((1, 1 << 30), (2, 1 << 30), (2, 1)):  # one interpreter, two, and one of two threads
        monkeypatch.setattr(litert, "usable_cores", lambda cores=cores: cores)
        monkeypatch.setattr(litert, "LITERT_COPIES_BYTES", copies)
        rows.append(make_engine(lite0, kind="litert", batch_size=4)(frames).tobytes())
    assert rows[0] == rows[1] == rows[2]


def test_the_result_of_a_call_outlives_the_next_call():
    backbone = load_backbone("tiny")
    engine = make_engine(backbone, kind="litert", batch_size=2)
    first = engine(frames_for(backbone, 2))
    kept = first.copy()
    for seed in range(1, engine.streams + 1):  # until its interpreter has computed again
        engine(frames_for(backbone, 2, seed=seed))
    assert np.array_equal(first, kept)


def test_the_converted_model_is_cached_and_not_converted_again(no_cache, caplog):
    caplog.set_level(logging.INFO, logger="extract.engines.litert")
    backbone = load_backbone("tiny")
    for _ in range(2):
        make_engine(backbone, kind="litert", batch_size=3)
    assert caplog.messages.count("converting tiny for LiteRT, once") == 1
    [file] = cache_folder().glob("*.tflite")
    assert file.name.startswith(f"litert1-tiny-{backbone.weights_digest[:16]}-8px-batch3-keras")


def test_a_damaged_converted_model_is_converted_again(no_cache):
    backbone = load_backbone("tiny")
    frames = frames_for(backbone, 2)
    expected = make_engine(backbone, kind="litert", batch_size=2)(frames)
    [file] = cache_folder().glob("*.tflite")
    file.write_bytes(file.read_bytes()[:-100])
    assert np.array_equal(make_engine(backbone, kind="litert", batch_size=2)(frames), expected)


@pytest.mark.parametrize(
    ("cores", "copies", "interpreters", "threads"),
    [(4, 9, 4, 1), (1, 9, 1, 1), (4, 3, 2, 2), (8, 6, 4, 2), (4, 0, 1, 4)],
)
def test_all_cores_compute_also_where_there_is_no_room_for_weights_on_each(
    cores, copies, interpreters, threads, monkeypatch
):
    backbone = load_backbone("tiny")
    size = len(litert._compiled(backbone, 2))
    monkeypatch.setattr(litert, "usable_cores", lambda: cores)
    monkeypatch.setattr(litert, "LITERT_COPIES_BYTES", copies * size + 1)
    engine = make_engine(backbone, kind="litert", batch_size=2)
    assert (engine.streams, engine.units, engine.on_one_core) == (interpreters, interpreters, threads == 1)
    share = f"{interpreters} interpreter{'s' * (interpreters > 1)} of {threads} thread{'s' * (threads > 1)},"
    assert share in engine.name and engine(frames_for(backbone, 2)).shape == (2, 16)


def test_auto_takes_litert_on_a_cpu(monkeypatch):
    monkeypatch.setattr(registry, "has_gpu", lambda: False)
    assert make_engine(load_backbone("tiny"), batch_size=2).kind == "litert"


def bfloat16_engine(backbone: Backbone) -> Engine:
    try:
        return make_engine(backbone, batch_size=2, precision="mixed_bfloat16")
    except BackboneError as error:
        assert "--precision mixed_bfloat16 cannot be computed on this machine's CPU" in str(error)
        pytest.skip("this processor has no bfloat16")


def test_auto_takes_keras_for_other_precisions():
    assert bfloat16_engine(load_backbone("tiny")).kind == "keras"


def test_only_tf32_shortens_products_on_a_gpu():
    """By default the libraries do it where float32 is asked for."""
    import tensorflow as tf

    for precision, is_short in (("tf32", True), ("float32", False), ("mixed_float16", False)):
        make_engine(load_backbone("tiny"), kind="keras", batch_size=1, precision=precision)
        assert tf.config.experimental.tensor_float_32_execution_enabled() is is_short


def test_a_precision_that_the_processor_lacks_is_said(monkeypatch):
    """oneDNN below AVX-512 has no bfloat16: TensorFlow fails at the first batch."""

    def compute(frames):
        raise RuntimeError("could not create a primitive descriptor\nmore")

    monkeypatch.setattr(keras_engine, "_tensorflow_compute", lambda *_: (compute, "CPU"))
    with pytest.raises(BackboneError) as error:
        make_engine(load_backbone("tiny"), batch_size=2, precision="mixed_bfloat16")
    assert str(error.value) == (
        "--precision mixed_bfloat16 cannot be computed on this machine's CPU (could not create a primitive "
        "descriptor); use float32"
    )


def test_auto_takes_keras_on_a_gpu(monkeypatch):
    monkeypatch.setattr(registry, "has_gpu", lambda: True)
    assert make_engine(load_backbone("tiny"), batch_size=2).kind == "keras"


def not_convertible() -> Backbone:
    def build():
        import keras

        images = keras.Input((8, 8, 3))
        rows = keras.layers.Flatten()(images)
        spectrum = keras.ops.fft((rows, keras.ops.zeros_like(rows)))[0]
        return keras.Model(images, keras.ops.erfinv(spectrum))

    return Backbone("spectral", "none", 8, 192, build)


def test_auto_logs_that_a_model_cannot_be_converted_and_uses_keras(no_cache, monkeypatch, caplog, capfd):
    monkeypatch.setattr(registry, "has_gpu", lambda: False)
    assert make_engine(not_convertible(), batch_size=2).kind == "keras"
    assert "spectral cannot be converted for LiteRT" in caplog.text and "using Keras instead" in caplog.text


def test_litert_says_that_a_model_cannot_be_converted(no_cache):
    with pytest.raises(BackboneError, match="spectral cannot be converted for LiteRT"):
        make_engine(not_convertible(), kind="litert", batch_size=2)


def test_mixed_precision_gives_nearly_the_same_float32_rows(lite0):
    frames = frames_for(lite0, 2)
    exact = make_engine(lite0, kind="keras", batch_size=2)(frames)
    mixed = bfloat16_engine(lite0)(frames)
    assert mixed.dtype == np.float32
    assert 0 < np.abs(mixed - exact).max() < 0.1 * np.abs(exact).max()


def test_precision_does_not_stay_set_after_building():
    import keras

    with suppress(BackboneError):  # a processor without bfloat16
        make_engine(load_backbone("tiny"), kind="keras", batch_size=2, precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "onnx", "batch_size": 2}, "--engine onnx is unknown: use one of auto, keras, litert"),
        (
            {"precision": "int8", "batch_size": 2},
            "--precision int8 is unknown: use one of float32, tf32, mixed",
        ),
        ({"batch_size": 0}, "--batch-size 0 must be 1 or more"),
        (
            {"kind": "litert", "precision": "mixed_float16", "batch_size": 2},
            "--engine litert computes in float32 only: --precision mixed_float16 needs --engine keras",
        ),
    ],
)
def test_each_impossible_choice_has_its_sentence(arguments, message):
    with pytest.raises(BackboneError, match=message):
        make_engine(load_backbone("tiny"), **arguments)


@pytest.mark.parametrize(("image_size", "batch_size"), [(8, 32), (112, 27), (224, 6), (2000, 1)])
def test_a_batch_of_stored_frames_is_about_a_mebibyte(image_size, batch_size):
    assert make_engine(load_backbone("pixels", image_size=image_size)).batch_size == batch_size


def test_pixels_gives_a_copy_of_the_frames():
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    engine = make_engine(load_backbone("pixels", image_size=8), batch_size=2)
    rows = engine(frames)
    assert rows.dtype == np.uint8 and np.array_equal(rows, frames) and not np.shares_memory(rows, frames)
    assert make_engine(load_backbone("pixels", image_size=8, channels=1), batch_size=2)(frames).shape == (2, 8, 8, 1)


@pytest.mark.parametrize(("flag", "value"), [("engine", "litert"), ("engine", "keras"), ("precision", "mixed_float16")])
def test_what_runs_a_model_does_not_go_with_pixels(flag, value):
    with pytest.raises(BackboneError) as error:
        make_engine(load_backbone("pixels"), **{"kind" if flag == "engine" else flag: value})
    assert str(error.value) == f"--{flag} {value} does not go with pixels, which has no model; leave it out"


@pytest.mark.parametrize("frames", [np.zeros((2, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 3), np.uint8)])
def test_frames_of_another_kind_or_number_are_a_programming_error(frames):
    with pytest.raises(ValueError, match=r"frames must be uint8\(2, 8, 8, 3\), got"):
        make_engine(load_backbone("tiny"), kind="keras", batch_size=2)(frames)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, cwd=ROOT, env={**clean, **environment},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "litert"])
def test_the_chatter_of_tensorflow_does_not_reach_the_user(kind, tmp_path):
    done = run_python(
        "import logging, numpy as np; logging.basicConfig(level=logging.WARNING)\n"
        "from extract.backbones.registry import load_backbone; from extract.engines.registry import make_engine\n"
        f"engine = make_engine(load_backbone('tiny'), kind={kind!r}, batch_size=2)\n"
        "print(engine(np.zeros((2, 8, 8, 3), np.uint8)).shape)",
        CLIPSEQ_CACHE=str(tmp_path),
    )
    assert (done.stdout, done.stderr) == ("(2, 16)\n", "")


def test_what_is_no_chatter_still_reaches_standard_error():
    done = run_python(
        "import os, sys\nfrom extract.system.quiet_start import without_chatter\n"
        "with without_chatter():\n"
        "    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n')\n"
        "    os.write(2, b'I0000 00:00:1795252711.819904    7413 port.cc:153] oneDNN custom operations are on.\\n')\n"
        "    print('out of memory', file=sys.stderr)\n"
        "print('after', file=sys.stderr)"
    )
    assert done.stderr == "out of memory\nafter\n"


def test_a_cached_model_starts_without_tensorflow_where_ai_edge_litert_is_installed():
    pytest.importorskip("ai_edge_litert")
    backbone = load_backbone("tiny")
    make_engine(backbone, kind="litert", batch_size=2)
    done = run_python(
        "import sys, numpy as np\n"
        "from extract.backbones.registry import load_backbone; from extract.engines.registry import make_engine\n"
        "make_engine(load_backbone('tiny'), kind='litert', batch_size=2)(np.zeros((2, 8, 8, 3), np.uint8))\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    assert (done.stdout, done.stderr) == ("False False\n", "")
