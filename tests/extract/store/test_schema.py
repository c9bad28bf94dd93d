import json

import pytest
from store_examples import make_store

from extract.errors import DamagedShardError, RecipeMismatchError, SchemaError, StoreError, UnstorableClipError
from extract.records import Source
from extract.store.failures import Failure
from extract.store.reader import open_store
from extract.store.recipe import check_recipe, fingerprint, read_recipe, recipe_differences, recipe_text
from extract.store.schema import check_clip_id, same_source

RECIPE = {"backbone": "tiny", "image_size": 8, "weights": None}


def test_fingerprint_is_pinned_so_that_old_stores_stay_readable():
    assert fingerprint(RECIPE) == "55688ce966bca1b1f38289c62f2fdab2"


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"b": 1, "a": (1, 2)}) == fingerprint({"a": [1, 2], "b": 1})


@pytest.mark.parametrize("other", [{}, {**RECIPE, "image_size": 9}, {**RECIPE, "image_size": "8"}, {**RECIPE, "x": 1}])
def test_fingerprint_differs_for_another_recipe(other):
    assert fingerprint(other) != fingerprint(RECIPE)


def test_where_nothing_exists_every_recipe_is_fine_and_nothing_is_made(tmp_path):
    for recipe in (RECIPE, {}, {"x": 1}):
        check_recipe(tmp_path / "features", recipe)
        check_recipe(tmp_path, recipe)
    assert list(tmp_path.iterdir()) == []
    assert read_recipe(tmp_path / "features") is None


def test_recipe_survives_the_file(tmp_path):
    (tmp_path / "recipe.json").write_text(recipe_text(RECIPE))

    assert read_recipe(tmp_path) == RECIPE


def test_another_recipe_is_an_error_that_lists_every_difference(tmp_path):
    (tmp_path / "recipe.json").write_text(recipe_text(RECIPE))
    (tmp_path / "shard-1.h5").touch()

    with pytest.raises(RecipeMismatchError) as caught:
        check_recipe(tmp_path, {"backbone": "resnet50", "image_size": 8, "fit": "crop"})

    assert str(caught.value) == (
        f"{tmp_path} was made with backbone=tiny, you asked for resnet50; fit=(nothing), you asked for crop; "
        "weights=null, you asked for (nothing). Use another --output."
    )


def test_a_file_as_output_is_refused(tmp_path):
    (tmp_path / "packed.h5").touch()

    with pytest.raises(StoreError, match=r"packed\.h5 is a file; clips can only be added to a directory"):
        check_recipe(tmp_path / "packed.h5", RECIPE)


def test_a_newer_store_asks_for_an_upgrade(tmp_path):
    record = {"schema_version": 2, "fingerprint": "x", "recipe": {}}
    (tmp_path / "recipe.json").write_text(json.dumps(record))

    with pytest.raises(SchemaError, match=r"recipe\.json has schema 2, but this clipseq reads only up to 1: upgrade"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": "x"}', "[" * 100_000, "\x00", '{"recipe": 3}'])
def test_a_torn_recipe_is_named(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)

    with pytest.raises(DamagedShardError, match=r"recipe\.json is damaged. Run `clipseq verify .* --repair`"):
        read_recipe(tmp_path)


def test_a_recipe_that_was_edited_by_hand_is_named(tmp_path):
    (tmp_path / "recipe.json").write_text(recipe_text(RECIPE).replace("tiny", "huge"))

    with pytest.raises(DamagedShardError, match="was changed: its fingerprint does not match"):
        read_recipe(tmp_path)


def test_shards_without_a_recipe_are_named(tmp_path):
    (tmp_path / "shard-a-1-b-000000.h5").touch()

    with pytest.raises(DamagedShardError, match=r"holds shards but no recipe\.json"):
        check_recipe(tmp_path, RECIPE)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Source("a", 5, 7), Source("b", 5, 7), True),
        (Source("a", 5, 7), Source("a", 6, 7), False),
        (Source("a", 5, 7), Source("a", 5, 8), False),
        (Source("a", 5, 7, "x"), Source("a", 5, 8, "x"), True),
        (Source("a", 5, 7, "x"), Source("a", 5, 7, "y"), False),
        (Source("a", 5, 7, "x"), Source("a", 5, 7), True),
    ],
)
def test_same_source_goes_by_digest_then_by_size_and_mtime(one, other, same):
    assert same_source(one, other) is same


@pytest.mark.parametrize("clip_id", ["", "/a.mp4", "../a", "a/../../b", "a\\..\\b", "\\a", "a\0b"])
def test_names_that_leave_the_folder_are_refused(clip_id):
    with pytest.raises(UnstorableClipError, match="cannot name a clip: use a relative path without"):
        check_clip_id(clip_id)


@pytest.mark.parametrize("clip_id", ["a", "a/b.mp4", "clap/#20_ü [x].avi", "v#t=1.5,3", "..a", "a..b/c"])
def test_odd_but_relative_names_are_fine(tmp_path, clip_id):
    make_store(tmp_path, {clip_id: 2})
    assert open_store(tmp_path).clip_ids == [clip_id]


def test_failure_tells_when_in_utc():
    assert Failure("a", "X", "m", None, None, 1_700_000_000 * 10**9).when == "2023-11-14T22:13:20+00:00"


def test_recipe_differences_tell_missing_from_null():
    assert recipe_differences({"a": 1, "b": None}, {"a": 1.5}) == [("a", "1", "1.5"), ("b", "null", "(nothing)")]
