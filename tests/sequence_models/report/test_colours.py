"""The colours of the page: readable in every scheme, and apart for colour-blind readers."""

import itertools
import re

import numpy as np
import pytest
from colours import contrast, linear
from places import ROOT

from extract.system.lettering import SAFE_PALETTE

STYLE = (ROOT / "sequence_models" / "report" / "page.css").read_text(encoding="utf-8")
# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def schemes():
    """Name -> the colours of the page in light, in dark and in print."""
    blocks = [
        dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    return dict(zip(("light", "dark", "print"), blocks, strict=True))


def mixed(fill, ground, share):
    """As color-mix in srgb."""
    digits = [[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in (fill, ground)]
    parts = [round(share * a + (1 - share) * b) for a, b in zip(*digits, strict=True)]
    return linear("#{:02x}{:02x}{:02x}".format(*parts))


def test_black_on_white_has_the_known_contrast():
    assert contrast(linear("#000000"), linear("#fff")) == pytest.approx(21)
    assert contrast(linear("#767676"), linear("#ffffff")) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_is_readable_on_every_ground(scheme):
    colours = schemes()[scheme]
    for text, ground in itertools.product(("ink", "muted", "accent", "warm"), ("page", "card", "hint")):
        assert contrast(linear(colours[text]), linear(colours[ground])) >= 4.5, (scheme, text, ground)
    assert contrast(linear(colours["page"]), linear(colours["accent"])) >= 4.5  # the main button


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_counts_are_readable_in_the_fullest_cell_of_a_confusion(scheme):
    colours = schemes()[scheme]
    share = int(re.search(r"var\(--share\) \* (\d+)%", STYLE)[1]) / 100
    for fill in ("accent", "warm"):
        for part in np.linspace(0, share, 9):
            assert contrast(linear(colours["ink"]), mixed(colours[fill], colours["card"], part)) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_marks_that_mean_something_stand_out_from_the_ground(scheme):
    colours = schemes()[scheme]
    for mark in ("quiet", "accent", "warm", "ink"):
        assert contrast(linear(colours[mark]), linear(colours["card"])) >= 3


@pytest.mark.parametrize("seen_by", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "deuteranopia", "protanopia"])
def test_classes_stay_apart_for_colour_blind_readers(seen_by):
    """Up to eight classes; with more, the names in the strips decide."""
    seen = [np.clip(seen_by @ linear(colour), 0, 1) ** (1 / 2.4) for colour in SAFE_PALETTE[:8]]
    assert min(np.abs(one - other).max() for one, other in itertools.combinations(seen, 2)) > 0.05


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_right_and_wrong_are_told_apart_without_red_and_green(scheme):
    right, wrong = (linear(schemes()[scheme][name]) for name in ("accent", "warm"))
    for seen_by in (DEUTERANOPIA, PROTANOPIA):
        assert np.abs(np.clip(seen_by @ right, 0, 1) - np.clip(seen_by @ wrong, 0, 1)).max() > 0.25
