"""An installed package adds a backbone and a label format, by entry points alone."""

from __future__ import annotations

import logging

import pytest
from video_files import moving_frames, write_video

import pipeline
from extract.backbones.registry import backbone_names, backbone_table, build_untrained, load_backbone
from extract.errors import BackboneError
from extract.store.reader import open_store
from sequence_models.labels.formats.registry import all_formats

MODULE = """
from dataclasses import replace
from extract.backbones.registry import load_backbone
from sequence_models.labels.formats.intervals import FORMAT

def load(*, weights, image_size, pool):
    return replace(load_backbone("tiny", image_size=image_size, pool=pool), name="mine")

def broken(**given):
    raise RuntimeError("no such weights")

def other(**given):
    return load(weights=None, image_size=8, pool="avg")

SHEETS = replace(FORMAT, name="sheets", title="my sheets")
"""
POINTS = """
[clipseq.backbones]
mine = my_package_of_plug_ins:load
broken = my_package_of_plug_ins:broken
other = my_package_of_plug_ins:other
[clipseq.label_formats]
sheets = my_package_of_plug_ins:SHEETS
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package as pip leaves it."""
    folder = tmp_path / "site"
    (folder / "mine-1.dist-info").mkdir(parents=True)
    (folder / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (folder / "mine-1.dist-info" / "entry_points.txt").write_text(POINTS)
    (folder / "my_package_of_plug_ins.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    all_formats.cache_clear()
    yield
    all_formats.cache_clear()


def test_a_package_adds_a_backbone(package, tmp_path):
    assert "mine" in backbone_names() and "of an installed package" in backbone_table()
    write_video(tmp_path / "v" / "a.mp4", moving_frames(6))
    store = tmp_path / "f"
    assert pipeline.main(["extract", str(tmp_path / "v"), "--output", str(store), "--backbone", "mine"]) == 0
    assert open_store(store).recipe["backbone"] == "mine"
    with pytest.raises(BackboneError, match="it embeds videos, but cannot be trained"):
        build_untrained("mine", image_size=8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "broken",
            r"--backbone broken comes from my_package_of_plug_ins:broken, which fails \(RuntimeError: no ",
        ),
        ("other", "--backbone other comes from my_package_of_plug_ins:other, which gives no Backbone of that name"),
    ],
)
def test_a_backbone_that_fails_names_its_package(package, name, message):
    with pytest.raises(BackboneError, match=message):
        load_backbone(name)


def test_a_package_adds_a_label_format(package, caplog):
    with caplog.at_level(logging.WARNING):
        assert all_formats()["sheets"].title == "my sheets"
    assert not caplog.messages
