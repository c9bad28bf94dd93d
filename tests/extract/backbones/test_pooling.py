"""From the feature map of a backbone to one vector, by average, by maximum, or cell by cell."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from extract.backbones.keras_applications import build_family
from extract.backbones.pooling import check_pool, grid_of, pooled
from extract.backbones.registry import load_backbone
from extract.errors import BackboneError
from extract.jobs.recipe import recipe_of, settings_from_recipe
from extract.jobs.settings import ExtractSettings

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def vectors(feature_map, pool):
    given = keras.Input(feature_map.shape[1:])
    return np.asarray(keras.Model(given, pooled(given, pool))(feature_map))


def test_cells_stand_row_by_row_and_share_what_does_not_divide():
    rows = np.arange(3.0)[None, :, None, None] * 10 + np.arange(2.0)[None, None, :, None]  # (1, 3, 2, 1)
    feature_map = np.broadcast_to(rows, (1, 3, 2, 1)).astype(np.float32)
    assert vectors(feature_map, "grid:2x2").tolist() == [[5, 6, 15, 16]]  # the middle row is in both
    assert vectors(feature_map, "grid:1x2").tolist() == [[10, 11]]
    assert vectors(feature_map, "max").tolist() == [[21]]
    assert vectors(feature_map, "avg").tolist() == [[10.5]]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tiny"])
def test_a_grid_of_one_cell_is_the_average_and_the_maximum_is_above_it(name):
    average, one, highest = (
        np.asarray(load_backbone(name, image_size=64, pool=pool).build()(IMAGES, training=False))
        for pool in ("avg", "grid:1x1", "max")
    )
    if name != "tiny":  # which averages quarters
        np.testing.assert_allclose(one, average, rtol=1e-4, atol=1e-5)
    assert (highest >= one - 1e-6).all() and highest.shape == one.shape


def test_a_grid_keeps_where_in_the_picture_things_are():
    images = np.zeros((2, 64, 64, 3), np.uint8)
    images[0, :, :32], images[1, :, 32:] = 255, 255
    backbone = load_backbone("efficientnet_lite0", image_size=64, pool="grid:1x2")
    assert backbone.embedding_dim == 2 * 1280
    left, right = np.asarray(backbone.build()(images, training=False)).reshape(2, 2, 1280)
    assert np.linalg.norm(left[0] - left[1]) > 1
    assert np.linalg.norm(left[0] - right[1]) < np.linalg.norm(left[0] - right[0])


@pytest.mark.parametrize("pool", ["max", "grid:2x1"])
def test_keras_models_are_pooled_the_same_way(pool):
    model = build_family("mobilenet_v3_small", image_size=64, weights=None, pool=pool)
    inner = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    maps = np.asarray(inner(IMAGES.astype(np.float32), training=False))  # this family preprocesses inside
    assert maps.ndim == 4
    said = np.asarray(model(IMAGES, training=False))
    if pool == "max":
        np.testing.assert_allclose(said, maps.max(axis=(1, 2)), rtol=1e-5)
    else:
        np.testing.assert_allclose(
            said[:, : maps.shape[-1]], maps[:, : maps.shape[1] // 2].mean(axis=(1, 2)), rtol=1e-4
        )


def test_pooling_is_in_the_recipe_and_back_and_old_fingerprints_hold(tmp_path):
    settings = ExtractSettings(output=tmp_path, backbone="tiny")
    assert "pool" not in recipe_of(settings, load_backbone("tiny"))
    grid = replace(settings, pool="grid:2x1")
    recipe = recipe_of(grid, load_backbone("tiny", pool="grid:2x1"))
    assert recipe["pool"] == "grid:2x1" and recipe["embedding_dim"] == 8
    assert settings_from_recipe(recipe, tmp_path).pool == "grid:2x1"


@pytest.mark.parametrize("pool", ["median", "grid", "grid:0x2", "grid:2", "grid:9x2", "grid:2x2x2"])
def test_unknown_pooling_names_what_there_is(pool):
    with pytest.raises(BackboneError, match="is unknown; give avg, max, or grid:RxC with up to 8 rows and columns"):
        load_backbone("tiny", pool=pool)


def test_pixels_have_nothing_to_pool():
    with pytest.raises(BackboneError, match="--pool max does not go with --backbone pixels"):
        load_backbone("pixels", pool="max")


def test_grids_are_read_as_rows_and_columns():
    check_pool("grid:2x3")
    assert grid_of("grid:2x3") == (2, 3) and grid_of("max") == (1, 1)
