"""ELAN files as ELAN writes them, and as people break them; another library reads what is written here."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from extract.errors import LabelError
from sequence_models.labels.formats.contract import WriteOptions
from sequence_models.labels.formats.elan import write
from sequence_models.labels.formats.registry import OWN_FORMATS
from sequence_models.labels.reading import read_everything, understood
from sequence_models.labels.table import BY_SECONDS, LabelRow, LabelTable
from sequence_models.labels.writing import write_labels
from sequence_models.settings import DataSettings

MEDIA = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///D:/rec/day%202/yard.mov" MIME_TYPE="video/quicktime"{more}/>'
MOVIE = MEDIA.format(more="")
SLOTS = {"ts1": 1520, "ts2": 4480, "ts3": None, "ts4": 6480}


def annotation(value, first="ts1", last="ts2", number=1):
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="{first}" TIME_SLOT_REF2="{last}">'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>\n"
    )


def tier(name, *annotations, more=""):
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="lt"{more}>\n{"".join(annotations)}</TIER>\n'


@pytest.fixture
def written(tmp_path):
    def write_file(*tiers, media=MOVIE, slots=None, head="", name="yard.eaf"):
        values = {key: f' TIME_VALUE="{v}"' if v is not None else "" for key, v in (slots or SLOTS).items()}
        order = "".join(f'<TIME_SLOT TIME_SLOT_ID="{key}"{value}/>\n' for key, value in values.items())
        path = tmp_path / name
        path.write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<ANNOTATION_DOCUMENT FORMAT="3.0">\n'
            f'<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">{media}</HEADER>\n<TIME_ORDER>\n{order}</TIME_ORDER>\n'
            f"{''.join(tiers)}</ANNOTATION_DOCUMENT>",
            encoding="utf-8",
        )
        return path

    return write_file


def spans(table):
    return [(row.clip_id, row.label, row.start, row.end) for row in table.rows]


def test_elan_windows_media_url_matches_stem(written):
    table = read_everything(written(tier("play", annotation("run"), more=' PARTICIPANT="dog"')), DataSettings())
    assert spans(table) == [("yard.mov", "run", 1.52, 4.48)] and table.rows[0].subject == "dog"
    assert understood(table) == "ELAN, 1 tier, 1 clip, 1 class, 1 subject"
    assert table.rows[0].line == 11


def test_elan_slot_without_value(written):
    parts = annotation("run", "ts2", "ts3"), annotation("dig", "ts3", "ts4", 2)
    table = read_everything(written(tier("play", *parts)), DataSettings())
    assert spans(table) == [("yard.mov", "run", 4.48, 5.48), ("yard.mov", "dig", 5.48, 6.48)]


def test_elan_time_origin(written):
    path = written(tier("play", annotation("run")), media=MEDIA.format(more=' TIME_ORIGIN="500"'))
    assert spans(read_everything(path, DataSettings())) == [("yard.mov", "run", 2.02, 4.98)]


def test_elan_two_cameras_and_sound_are_two_videos_of_one_scene(written):
    side = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///side.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="-1000"/>'
    sound = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///yard.wav" MIME_TYPE="audio/x-wav"/>'
    table = read_everything(written(tier("p", annotation("run")), media=MOVIE + side + sound), DataSettings())
    assert spans(table) == [("yard.mov", "run", 1.52, 4.48), ("side.mp4", "run", 0.52, 3.48)]
    assert table.tool.views == (frozenset({"yard.mov", "side.mp4"}),)


def test_elan_asks_which_tiers_are_classes(written):
    path = written(tier("play", annotation("run")), tier("notes", annotation("sunny")), tier("empty"))
    with pytest.raises(LabelError, match=r"yard.eaf has 2 tiers .play, notes.; give --tier NAME if the texts"):
        read_everything(path, DataSettings())
    assert spans(read_everything(path, DataSettings(tier="play"))) == [("yard.mov", "run", 1.52, 4.48)]
    both = read_everything(path, DataSettings(tiers_as_classes=True))
    assert [row.label for row in both.rows] == ["play", "notes"]
    with pytest.raises(LabelError, match="tier 'empty' is empty; with annotations there are play, notes"):
        read_everything(path, DataSettings(tier="empty"))
    with pytest.raises(LabelError, match="tier 'pley' does not exist"):
        read_everything(path, DataSettings(tier="pley"))


def test_elan_child_tier_follows_its_parent(written):
    child = (
        '<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="b1" ANNOTATION_REF="a1"><ANNOTATION_VALUE>fast</ANNOTATION_VALUE>'
        "</REF_ANNOTATION></ANNOTATION>"
    )
    path = written(tier("play", annotation("run")), tier("speed", child))
    assert spans(read_everything(path, DataSettings(tier="speed"))) == [("yard.mov", "fast", 1.52, 4.48)]
    path = written(tier("play", annotation("run")), tier("speed", child.replace('REF="a1"', 'REF="b1"')))
    with pytest.raises(LabelError, match="its parent annotation does not exist"):
        read_everything(path, DataSettings(tier="speed"))


def test_elan_entities_cannot_blow_up(written):
    bomb = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 12))
    path = written(tier("p", annotation("&l11;")), head=f'<!DOCTYPE x [<!ENTITY l0 "lol">{bomb}]>\n')
    with pytest.raises(LabelError, match=r"yard.eaf line 2 declares a document type"):
        read_everything(path, DataSettings())
    path = written(tier("p", annotation("&x;")), head='<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n')
    with pytest.raises(LabelError, match="declares a document type"):
        read_everything(path, DataSettings())


@pytest.mark.parametrize(
    ("parts", "options", "said"),
    [
        ([tier("p", annotation("run", "ts1", "ts9"))], {}, "line 11: time slot 'ts9' does not exist"),
        ([tier("p", annotation("run", "ts2", "ts1"))], {}, "line 11: it ends at 1520, before it begins at 4480"),
        ([tier("p", annotation(" "))], {}, "line 11: an annotation of tier 'p' has no text"),
        ([tier("p"), tier("q")], {}, "has no annotations .2 empty tiers."),
        ([tier("p", annotation("a"))], {"slots": {"ts1": -5, "ts2": 1}}, "line 5: TIME_VALUE is '-5'"),
        (
            [tier("p", annotation("a"))],
            {"media": MEDIA.format(more=' TIME_ORIGIN="-2000"')},
            "0.48 s before '/rec/day 2/yard.mov'",
        ),
        ([tier("p", annotation("a") + "<")], {}, "line 12 is not well-formed XML"),
    ],
)
def test_elan_files_that_are_wrong(written, parts, options, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written(*parts, **options), DataSettings())


def test_elan_is_read_back_by_pympi(tmp_path):
    pympi = pytest.importorskip("pympi")
    names = ["groom", 'say "hi" & <go>', "grün 🐁"]
    rows = tuple(LabelRow("cam/a b.mp4", n, k, start=k + 0.125, end=k + 0.75, subject="A") for k, n in enumerate(names))
    write_labels(LabelTable(Path("x"), BY_SECONDS, rows), tmp_path / "out", OWN_FORMATS["elan"], WriteOptions())
    (path,) = (tmp_path / "out").rglob("*.eaf")
    assert path == tmp_path / "out/cam/a b.eaf"
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        told = pympi.Elan.Eaf(str(path))
    found = {name: told.get_annotation_data_for_tier(name) for name in told.get_tier_names()}
    assert found == {f"{n}@A": [(1000 * k + 125, 1000 * k + 750, n)] for k, n in enumerate(names)}
    assert told.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./a%20b.mp4"
    back = read_everything(tmp_path / "out", DataSettings())
    assert {row.clip_id for row in back.rows} == {"cam/a b.mp4"}


def test_elan_of_pympi_is_read(tmp_path):
    pympi = pytest.importorskip("pympi")
    eaf = pympi.Elan.Eaf(author="")
    eaf.add_linked_file("file:///m/yard.mov", "./yard.mov", "video/quicktime")
    eaf.add_tier("play")
    eaf.add_annotation("play", 40, 1240, "run & hide")
    eaf.to_file(str(tmp_path / "yard.eaf"))
    assert spans(read_everything(tmp_path / "yard.eaf", DataSettings())) == [("yard.mov", "run & hide", 0.04, 1.24)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0, 1), (0.5, 2)], "line 2: it overlaps another 'g' of 'a', which a tier"),
        ([(0, 0.0001)], "line 1: it is shorter than a millisecond"),
    ],
)
def test_what_elan_cannot_hold_is_refused(rows, said):
    table = LabelTable(
        Path("x"), BY_SECONDS, tuple(LabelRow("a", "g", k, start=s, end=e) for k, (s, e) in enumerate(rows, 1))
    )
    with pytest.raises(LabelError, match=said):
        write(table, WriteOptions())
