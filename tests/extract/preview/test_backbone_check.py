"""A wrong spec of a model file is recognised: surely by a reference vector, roughly by class outputs."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from model_files import CHANNELS, SIDE, SPEC, expected_maps, keras_file, onnx_file

from extract.backbones import keras_file as keras_file_module
from extract.backbones import onnx_file as onnx_file_module
from extract.backbones.registry import load_backbone
from extract.errors import BackboneError
from extract.preview import backbone_check
from extract.preview.backbone_check import check_backbone
from pipeline import main

IMAGENET_SPEC = ("range=0,1", "mean=0.485,0.456,0.406", "std=0.229,0.224,0.225", "channel_order=rgb")


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """A picture, and what the original program made of it, with ImageNet's mean and deviation."""
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), picture[..., ::-1])
    monkeypatch.setattr("model_files.MEAN", (0.485, 0.456, 0.406))
    monkeypatch.setattr("model_files.STD", (0.229, 0.224, 0.225))
    np.save(tmp_path / "v.npy", expected_maps(picture[None]).mean(axis=(1, 2))[0])
    return {"reference": tmp_path / "v.npy", "picture": tmp_path / "p.png"}


def test_the_right_spec_is_called_right(reference, tmp_path):
    check = check_backbone(onnx_file(tmp_path / "m.onnx"), IMAGENET_SPEC, **reference)
    assert check.is_right and check.sentence().startswith("the spec is right: cosine to the reference 1.0000")


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (("channel_order=bgr",), "with colours swapped (1.000): --spec channel_order=rgb"),
        (("mean=0,0,0", "std=1,1,1"), "with ImageNet's mean and std (1.000): --spec mean=0.485,0.456,0.406"),
        (("mean=0.596,0.558,0.497", "std=0.0524,0.0502,0.0506"), "with ImageNet's mean and std (1.000)"),  # twice
        (("range=0,255",), "with ImageNet's mean and std (1.000): --spec range=0.0,1.0"),
        (("mean=0.5,0.5,0.5", "std=0.5,0.5,0.5"), "with ImageNet's mean and std (1.000)"),
    ],
)
def test_each_of_five_wrong_specs_is_named_with_its_remedy(wrong, remedy, reference, tmp_path):
    check = check_backbone(onnx_file(tmp_path / "m.onnx"), (*IMAGENET_SPEC, *wrong), **reference)
    assert check.is_right is False
    assert check.sentence().startswith("the spec is wrong (cosine to the reference ") and remedy in check.sentence()


def test_height_and_width_swapped_are_named(reference, tmp_path):
    np.save(reference["reference"], _turned_vector(reference["picture"]))
    check = check_backbone(onnx_file(tmp_path / "m.onnx"), IMAGENET_SPEC, **reference)
    assert "with height and width swapped (1.000): export the model with height before width" in check.sentence()


def test_a_vector_of_another_model_is_like_none(reference, tmp_path):
    np.save(reference["reference"], np.array([0, 0, 0, 0, 1.0]))
    check = check_backbone(onnx_file(tmp_path / "m.onnx"), IMAGENET_SPEC, **reference)
    assert check.is_right is False


def test_without_evidence_only_the_distances_are_shown(tmp_path, capsys):
    spec = [word for text in SPEC for word in ("--spec", text)]
    assert main(["check-backbone", str(onnx_file(tmp_path / "m.onnx")), *spec]) == 0
    said = capsys.readouterr().out
    assert "as the spec says" in said and "with colours swapped" in said
    assert said.splitlines()[-1].startswith("nothing here tells which is right")


@pytest.mark.parametrize(("spec", "is_right"), [("range=0,1", True), ("range=0,255", False)])
def test_a_classifier_is_surest_of_what_it_was_trained_on(spec, is_right, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone_check, "CLASS_COUNTS", (2,))
    path = tmp_path / "m.onnx"
    _add_classes(onnx_file(path))
    check = check_backbone(path, (spec, "mean=0,0,0", "std=1,1,1", "channel_order=rgb", "output=vector"))
    assert check.is_right is is_right
    assert ("nothing is clearly better" if is_right else "with values from 0 to 1") in check.sentence()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reference": "v.npy"}, "--reference and --picture go together"),
        ({"reference": "v.npy", "picture": "none.png"}, "the picture cannot be read"),
        ({"reference": "v.npy", "picture": "v.npy"}, "is not a picture that can be read"),
        ({"reference": "p.png", "picture": "p.png"}, "is not a .npy file of numbers"),
        (
            {"reference": "long.npy", "picture": "p.png"},
            rf"holds float64\(7,\), but file:m.onnx gives {CHANNELS} numbers",
        ),
    ],
)
def test_what_cannot_be_compared_has_its_sentence(given, message, reference, tmp_path):
    np.save(tmp_path / "long.npy", np.zeros(7))
    with pytest.raises(BackboneError, match=message):
        check_backbone(onnx_file(tmp_path / "m.onnx"), SPEC, **{name: tmp_path / file for name, file in given.items()})


def _turned_vector(picture):
    pixels = cv2.imread(str(picture))[..., ::-1]
    return expected_maps(np.ascontiguousarray(pixels.swapaxes(0, 1))[None]).mean(axis=(1, 2))[0]


def _add_classes(path):
    """A second output with two classes that is undecided unless its vector is small, as from values of 0 to 1."""
    model = onnx.load(str(path))
    helper = onnx.helper
    model.graph.node.append(helper.make_node("ReduceSum", ["vector"], ["size"], keepdims=1))
    model.graph.node.append(helper.make_node("Neg", ["size"], ["negative"]))
    model.graph.node.append(helper.make_node("Exp", ["negative"], ["near"]))
    model.graph.node.append(helper.make_node("Add", ["near", "near"], ["nearer"]))
    model.graph.node.append(helper.make_node("Sub", ["near", "near"], ["zero"]))
    model.graph.node.append(helper.make_node("Concat", ["nearer", "zero"], ["logits"], axis=1))
    model.graph.output.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 2]))
    onnx.save(model, str(path))


def test_an_onnx_file_is_opened_once_for_all_preparations(tmp_path, monkeypatch):
    real, opened = onnx_file_module.open_session, []
    monkeypatch.setattr(onnx_file_module, "open_session", lambda path: opened.append(path) or real(path))
    assert len(check_backbone(onnx_file(tmp_path / "m.onnx"), IMAGENET_SPEC).candidates) > 5
    assert len(opened) == 1


def test_a_keras_file_is_loaded_once_for_its_graph_and_all_preparations(tmp_path, monkeypatch):
    path, loaded = keras_file(tmp_path / "m.keras"), []
    real = keras_file_module.load_keras_file
    monkeypatch.setattr(keras_file_module, "load_keras_file", lambda path: loaded.append(path) or real(path))
    assert len(check_backbone(path, IMAGENET_SPEC).candidates) > 5
    assert len(loaded) == 1
    load_backbone(f"file:{path}", spec=IMAGENET_SPEC).build()
    assert len(loaded) == 2  # a copy of its own
