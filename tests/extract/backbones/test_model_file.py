"""Model files of the user's own: every format and layout gives the same numbers, and what does not fit is said."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_files import CHANNELS, PLAIN, SIDE, SPEC, expected_maps, keras_file, onnx_file, tflite_file, window_file

from extract.backbones.file_arrays import model_input
from extract.backbones.graph import read_graph
from extract.backbones.guess import guess_spec
from extract.backbones.registry import build_untrained, load_backbone
from extract.backbones.spec import IMAGENET, ModelSpec, read_spec, write_spec
from extract.engines.registry import make_engine
from extract.errors import BackboneError

TIMM = {"mean": [0.1] * 3, "std": [0.2] * 3}
TRANSFORMERS = {"image_mean": [0.3] * 3, "image_std": [0.2] * 3, "rescale_factor": 0.00392156862745}
FRAMES = np.random.default_rng(1).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)


def embedded(path, *spec, frames=FRAMES):
    """The rows of these frames, batch by batch."""
    engine = make_engine(load_backbone(f"file:{path}", spec=spec))
    padded = np.concatenate([frames, frames[:1].repeat(-len(frames) % engine.batch_size, axis=0)])
    batches = [engine(padded[k : k + engine.batch_size]) for k in range(0, len(padded), engine.batch_size)]
    return np.concatenate(batches)[: len(frames)]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("inside", [False, True])
def test_onnx_in_any_layout_with_normalisation_inside_or_outside_gives_the_same(layout, inside, tmp_path):
    path = onnx_file(tmp_path / "m.onnx", layout=layout, inside=inside)
    rows = embedded(path, *(PLAIN if inside else SPEC))
    np.testing.assert_allclose(rows, expected_maps(FRAMES).mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [tflite_file, keras_file])
def test_tflite_and_keras_give_what_onnx_gives(make, tmp_path):
    path = make(tmp_path / f"m.{make.__name__.partition('_')[0]}")
    rows = embedded(path, *SPEC)
    np.testing.assert_allclose(rows, expected_maps(FRAMES).mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_blue_first_is_the_picture_with_its_channels_reversed(tmp_path):
    path, swapped = onnx_file(tmp_path / "m.onnx"), ("range=0,1", "mean=0.4,0.5,0.6", "std=0.2,0.25,0.3")
    rows = embedded(path, *swapped, "channel_order=bgr")
    np.testing.assert_allclose(rows, embedded(path, *SPEC, frames=FRAMES[..., ::-1]), rtol=1e-5)


@pytest.mark.parametrize(
    ("output", "pool", "expected"),
    [
        ("tokens", "cls", lambda maps: maps[:, 0, 0]),
        ("tokens", "mean", lambda maps: maps.mean(axis=(1, 2))),
        ("tokens", "mean:2", lambda maps: maps.reshape(len(maps), -1, CHANNELS)[:, 2:].mean(axis=1)),
        ("tokens", "max", lambda maps: maps.max(axis=(1, 2))),
        ("map", "mean", lambda maps: maps.mean(axis=(1, 2))),
        ("map", "max", lambda maps: maps.max(axis=(1, 2))),
        (
            "map",
            "grid:2x1",
            lambda maps: np.concatenate([maps[:, :3].mean(axis=(1, 2)), maps[:, 3:].mean(axis=(1, 2))], axis=1),
        ),
    ],
)
def test_an_output_becomes_a_vector_as_the_spec_says(output, pool, expected, tmp_path):
    path = onnx_file(tmp_path / "m.onnx", output=output)
    backbone = load_backbone(f"file:{path}", spec=(*SPEC, f"pool={pool}"))
    wanted = expected(expected_maps(FRAMES))
    assert backbone.embedding_dim == wanted.shape[1]
    np.testing.assert_allclose(embedded(path, *SPEC, f"pool={pool}"), wanted, rtol=1e-4, atol=1e-5)


def test_a_row_does_not_depend_on_the_others_in_its_batch(tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    together, alone = embedded(path, *SPEC), [embedded(path, *SPEC, frames=FRAMES[k : k + 1])[0] for k in range(6)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_the_batch_size_of_a_file_is_kept_and_another_refused(tmp_path):
    path = onnx_file(tmp_path / "m.onnx", batch=3)
    backbone = load_backbone(f"file:{path}", spec=SPEC)
    assert make_engine(backbone).batch_size == 3
    with pytest.raises(BackboneError, match=r"--batch-size 4 does not go with .*m.onnx, which takes 3 at a time"):
        make_engine(backbone, batch_size=4)


def test_the_digest_changes_with_the_weights_and_not_with_the_name(tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    digest = load_backbone(f"file:{path}", spec=SPEC).weights_digest
    assert load_backbone(f"file:{path.rename(tmp_path / 'other.onnx')}", spec=SPEC).weights_digest == digest
    inside = onnx_file(tmp_path / "m.onnx", inside=True)
    assert load_backbone(f"file:{inside}", spec=PLAIN).weights_digest != digest


def test_weights_beside_an_onnx_file_belong_to_its_digest(tmp_path):
    model = onnx.load(str(onnx_file(tmp_path / "one.onnx")))
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.data", size_threshold=0)
    first = load_backbone(f"file:{path}", spec=SPEC).weights_digest
    np.testing.assert_allclose(embedded(path, *SPEC), embedded(tmp_path / "one.onnx", *SPEC), rtol=1e-6)
    weights = bytearray((tmp_path / "m.data").read_bytes())
    weights[:4] = b"\0\0\0\0"
    (tmp_path / "m.data").write_bytes(weights)
    assert load_backbone(f"file:{path}", spec=SPEC).weights_digest != first
    (tmp_path / "m.data").unlink()
    with pytest.raises(BackboneError, match=r"its weights are in 'm.data', which is not beside it"):
        load_backbone(f"file:{path}", spec=SPEC)


def test_weights_outside_the_folder_of_an_onnx_file_are_refused(tmp_path):
    model = onnx.load(str(onnx_file(tmp_path / "one.onnx")))
    (tmp_path / "inner").mkdir()
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    path = tmp_path / "inner" / "m.onnx"
    path.write_bytes((tmp_path / "m.onnx").read_bytes().replace(b"m.data", b"../mda"))
    with pytest.raises(BackboneError, match=r"said to be in '../mda'; they must lie in its own folder"):
        load_backbone(f"file:{path}", spec=SPEC)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((), "its graph does not say range, mean, std, channel_order; write them to m.json beside it"),
        (SPEC[1:], "its graph does not say range;"),
        (
            (*SPEC, "image_size=16"),
            r"image_size=16 does not fit the model's input, .*float32 \(\?, 3, 8",
        ),
        ((*SPEC, "layout=NHWC"), "layout=NHWC does not fit the model's input"),
        ((*SPEC, "layout=NTHWC", "frames=4"), "layout=NTHWC has 5 axes, but the model's input is pictures"),
        ((*SPEC, "pool=cls"), r"output vector float32 \(\?, 5\) is a vector, so pool must be none, not cls"),
        ((*SPEC, "output=logits"), "there is no output 'logits'; the outputs are vector float32"),
        (("colour=rgb",), "--spec colour=rgb: give KEY=VALUE, where KEY is one of image_size, layout"),
        (("range=1",), "--spec range=1: the value must be two numbers such as 0,1"),
        (("range=1,0",), "range is 1.0,0.0; its second number must be larger"),
        (("std=0,1,1",), "std is 0.0,1.0,1.0; each number must be greater than 0"),
        (("mean=nan,0,0",), "mean must be finite numbers"),
        (("image_size=0",), "image_size is 0; it must be 1 or more"),
        (("image_size=big",), "the value must be a whole number"),
        (("layout=HWC",), "layout is 'HWC'; it must be one of NHWC"),
        (("pool=grid:9x9",), "pool is 'grid:9x9'; it must be none, cls"),
    ],
)
def test_each_wrong_spec_has_its_sentence(spec, message, tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    with pytest.raises(BackboneError, match=message):
        load_backbone(f"file:{path}", spec=spec)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.onnx", b"no model", "this is no ONNX model, or it is damaged"),
        ("m.tflite", b"no model", "refuses it"),
        ("m.keras", b"no model", "Keras cannot load it without running code from the file"),
        ("m.pt", b"", "SavedModel and TorchScript are programs"),
        ("m.bin", b"", "a backbone's file ends in .onnx, .tflite or .keras"),
        ("none.onnx", None, "there is no such model file; check the path"),
    ],
)
def test_each_file_that_is_no_model_has_its_sentence(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match=message):
        load_backbone(f"file:{tmp_path / name}", spec=SPEC)


def test_a_keras_file_with_a_lambda_layer_runs_no_code(tmp_path):
    import keras

    pictures = keras.Input((SIDE, SIDE, 3))
    keras.Model(pictures, keras.layers.Lambda(lambda x: x * 2)(pictures)).save(tmp_path / "m.keras")
    with pytest.raises(BackboneError, match=r"models with Lambda layers .* exported to ONNX instead"):
        load_backbone(f"file:{tmp_path / 'm.keras'}", spec=SPEC)


def test_a_model_of_pictures_and_text_is_refused(tmp_path):
    model = onnx.load(str(onnx_file(tmp_path / "m.onnx")))
    model.graph.input.append(onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 7]))
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(BackboneError, match=r"inputs are: pictures .*; ids int64 \(1, 7\). Export the part that takes"):
        load_backbone(f"file:{tmp_path / 'm.onnx'}", spec=SPEC)


def test_without_onnx_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = onnx_file(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackboneError, match=r"pip install 'clipseq\[onnx\]'"):
        load_backbone(f"file:{path}", spec=SPEC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": "max"}, "--pool max does not go with --backbone file:MODEL; use --spec pool=..."),
        ({"channels": 1}, "--channels 1 does not go with --backbone file:MODEL; leave it out"),
    ],
)
def test_flags_of_built_in_backbones_are_refused(arguments, message, tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    with pytest.raises(BackboneError, match=message):
        load_backbone(f"file:{path}", spec=SPEC, **arguments)
    with pytest.raises(BackboneError, match="--spec range=0,1 goes only with --backbone file:MODEL, not with tiny"):
        load_backbone("tiny", spec=SPEC)
    with pytest.raises(BackboneError, match="embeds videos, but cannot be trained"):
        build_untrained(f"file:{path}", image_size=8)
    with pytest.raises(BackboneError, match=r"--engine litert does not go with file:m.onnx"):
        make_engine(load_backbone(f"file:{path}", spec=SPEC), kind="litert")


def test_the_spec_beside_a_file_is_read_and_texts_win_over_it(tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    write_spec(path, ModelSpec().merged(SPEC))
    assert load_backbone(f"file:{path}").file.spec.mean == (0.4, 0.5, 0.6)
    assert load_backbone(f"file:{path}", spec=["mean=0,0,0"]).file.spec.mean == (0, 0, 0)
    with pytest.raises(BackboneError, match=r"m.json exists already"):
        write_spec(path, ModelSpec())
    for content, message in (
        ('{"size": 8}', "unknown entry 'size'"),
        ("[]", "not an object"),
        ('{"std": [0, 1, 1]}', "std"),
    ):
        (tmp_path / "m.json").write_text(content)
        with pytest.raises(BackboneError, match=f"m.json: .*{message}.*inspect-backbone"):
            read_spec(path)


numbers = st.floats(-1e3, 1e3)


@given(
    st.builds(
        ModelSpec,
        image_size=st.none() | st.integers(1, 2000),
        layout=st.sampled_from([None, "NHWC", "NTCHW"]),
        range=st.none() | st.tuples(st.floats(-9, 0), st.floats(1, 300)),
        mean=st.none() | st.tuples(numbers, numbers, numbers),
        std=st.none() | st.tuples(*(st.floats(1e-3, 1e3),) * 3),
        channel_order=st.sampled_from([None, "bgr"]),
        output=st.none() | st.text(min_size=1),
        pool=st.sampled_from([None, "mean:3", "grid:2x2"]),
    )
)
def test_the_texts_of_a_spec_give_it_back(spec):
    assert ModelSpec().merged(spec.texts()) == spec


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_input_is_contiguous_and_of_the_models_type(dtype):
    spec = ModelSpec(SIDE, "NCHW", channel_order="bgr").scaled(IMAGENET)
    if dtype == "uint8":
        spec = replace(spec, range=(0.0, 255.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    made = model_input(FRAMES, spec, dtype)
    assert made.shape == (6, 3, SIDE, SIDE) and made.dtype == dtype and made.flags.c_contiguous
    wanted = (FRAMES[..., ::-1] / 255 * (spec.range[1]) - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(made, np.moveaxis(wanted, -1, 1), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "config", "entry", "value", "reason"),
    [
        ("dinov2_small.onnx", {}, "mean", (0.485, 0.456, 0.406), "the file's name contains 'dino'"),
        ("siglip.onnx", {}, "std", (0.5, 0.5, 0.5), "the file's name contains 'siglip'"),
        (
            "m.onnx",
            {"config.json": {"pretrained_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3}}},
            "std",
            (0.2,) * 3,
            "config",
        ),
        (
            "m.onnx",
            {
                "preprocessor_config.json": {
                    "image_mean": [0.3] * 3,
                    "image_std": [0.2] * 3,
                    "rescale_factor": 0.00392156862745,
                }
            },
            "range",
            (0.0, 1.0),
            "preprocessor_config.json",
        ),
        ("m.onnx", {"m.json": {"range": [-1, 1]}, "config.json": {"mean": 7}}, "range", (-1.0, 1.0), "m.json"),
    ],
)
def test_a_guess_says_where_it_comes_from(name, config, entry, value, reason, tmp_path):
    path = onnx_file(tmp_path / name)
    for file, content in config.items():
        (tmp_path / file).write_text(json.dumps(content))
    guess = guess_spec(read_graph(path))
    assert getattr(guess.spec, entry) == pytest.approx(value, abs=1e-6) and reason in guess.reasons[entry]
    assert guess.reasons["layout"] == guess.reasons["image_size"] == "the graph"


def test_what_nothing_says_is_not_guessed(tmp_path):
    guess = guess_spec(read_graph(onnx_file(tmp_path / "m.onnx", output="tokens")))
    assert (guess.spec.range, guess.spec.mean, guess.spec.channel_order, guess.spec.pool) == (None, None, None, "mean")


def test_a_model_of_windows_has_its_frames_from_the_graph(tmp_path):
    backbone = load_backbone(f"file:{window_file(tmp_path / 'm.onnx')}", spec=(*PLAIN, "stride=2"))
    spec = backbone.file.spec
    assert (spec.layout, spec.frames, spec.stride, spec.hop) == ("NCTHW", 4, 2, 8)
    assert backbone.frame_shape == (4, SIDE, SIDE, 3) and backbone.embedding_dim == 6
