"""What every label format must do: recognise its own files only, give back what it wrote, refuse in one sentence."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.errors import ClipseqError, LabelError, UsageError
from sequence_models.labels.clip_names import without_ending
from sequence_models.labels.formats import registry
from sequence_models.labels.formats.contract import LabelFormat, WriteOptions
from sequence_models.labels.formats.registry import OWN_FORMATS, WRITTEN, all_formats
from sequence_models.labels.reading import read_everything
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, LabelRow, LabelTable
from sequence_models.labels.writing import write_labels, written_format
from sequence_models.settings import WRITTEN_FORMATS, DataSettings

ODD_NAMES = (
    "groom, self",
    'say "hi"',
    "wash | dry",
    "grün 🐁",
    "<script>alert(1)</script>",
    "=SUM(A1)",
    "'quoted'",
    "a@b",
)
TWO_LINES = "two\nlines"
SECONDS_STEP = {"boris": 0.001, "elan": 0.001, "audacity": 0.000001, "intervals": 0.000001}
HOLDS_SUBJECTS = {"boris", "elan", "intervals"}
HOLDS_OVERLAPS = set(WRITTEN) - {"mstcn"}
LINE_FORMATS = {"mstcn", "audacity"}  # a class is on a line of its own
BROKEN = {
    "empty": b"",
    "zero bytes": b"\0\0\0\0",
    "not text": b"\xff\xfe\xff\xd8\x00\xdc",
    "half a table": b'"a,b\n1',
    "half an XML file": b"<ANNOTATION_DOCUMENT><TIER",
    "deep JSON": b"[" * 100_000,
    "other JSON": b'{"a": NaN}',
    "JSON of other types": b'[1, "a", null]',
    "words": "très simple\n".encode(),
}


@st.composite
def tables(draw, name):
    """Intervals of up to three clips in whole units of the format; none of a class and subject overlap."""
    unit = OWN_FORMATS[name].unit or draw(st.sampled_from([BY_SECONDS, BY_FRAMES]))
    names = st.sampled_from([*ODD_NAMES, "groom", "rear", *([] if name in LINE_FORMATS else [TWO_LINES])])
    letters = st.characters(exclude_categories=["C", "Z"], exclude_characters=",;|")
    labels = st.one_of(names, st.text(letters, min_size=1, max_size=5).filter(lambda t: t[:1] != "#" and t != "."))
    subjects = st.sampled_from(["", "mouse A", "grün, <b>"]) if name in HOLDS_SUBJECTS else st.just("")
    rows = []
    for clip_id in draw(
        st.lists(st.sampled_from(["a.mp4", "day 1/b é.avi", "c"]), min_size=1, max_size=3, unique=True)
    ):
        tracks = draw(
            st.lists(st.tuples(labels, subjects), min_size=1, max_size=3, unique=True)
            if name in HOLDS_OVERLAPS
            else st.tuples(st.tuples(labels, subjects))
        )
        for label, subject in tracks:
            position = 0 if name == "mstcn" else draw(st.integers(0, 500))
            for length in draw(st.lists(st.integers(1, 400), min_size=1, max_size=3)):
                rows.append(LabelRow(clip_id, label, 0, start=position, end=position + length, subject=subject))
                position += length + (0 if name == "mstcn" else draw(st.integers(1, 100)))
    scale = SECONDS_STEP[name] * draw(st.sampled_from([1, 10, 40])) if unit == BY_SECONDS else 1
    rows = [row_of(row, row.start * scale, row.end * scale) for row in rows]
    return LabelTable(Path("drawn.csv"), unit, tuple(rows))


def row_of(row, start, end):
    return LabelRow(row.clip_id, row.label, row.line, start=start, end=end, subject=row.subject)


def content(table, *, step=1.0):
    """The rows in units of the resolution; touching runs of a class are one in formats with a label per frame."""
    whole = [
        (without_ending(row.clip_id), row.label, row.subject, round(row.start / step), round(row.end / step))
        for row in table.rows
    ]
    joined = []
    for row in sorted(whole):
        if joined and joined[-1][:3] == row[:3] and joined[-1][4] == row[3]:
            joined[-1] = (*joined[-1][:4], row[4])
        else:
            joined.append(row)
    return joined


def there_and_back(table, name):
    with TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        used = written_format(name)
        write_labels(table, target, used, WriteOptions())
        return read_everything(target, DataSettings())


@pytest.mark.parametrize("name", WRITTEN)
def test_round_trip_is_exact_to_the_formats_resolution(name):
    @settings(max_examples=25, deadline=None)
    @given(tables(name))
    def check(table):
        step = SECONDS_STEP[name] if table.kind == BY_SECONDS else 1.0
        back = there_and_back(table, name)
        assert back.kind == table.kind
        assert content(back, step=step) == content(table, step=step)

    check()


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("label", ODD_NAMES)
def test_label_named_with_comma_quote_and_script_tag(name, label):
    unit = OWN_FORMATS[name].unit or BY_SECONDS
    table = LabelTable(Path("x"), unit, (LabelRow("a.mp4", label, 0, start=0, end=3),))
    assert [row.label for row in there_and_back(table, name).rows] == [label]


@pytest.mark.parametrize("name", sorted(LINE_FORMATS))
def test_a_class_with_a_new_line_is_refused_where_a_class_is_on_a_line(name, tmp_path):
    table = LabelTable(Path("x.csv"), OWN_FORMATS[name].unit, (LabelRow("a", TWO_LINES, 7, start=0, end=3),))
    with pytest.raises(LabelError, match=r"x.csv line 7: the class 'two\\nlines' has .* new line.* rename it"):
        write_labels(table, tmp_path / "out", OWN_FORMATS[name], WriteOptions())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["deepethogram", "mstcn", "elan", "audacity"])
@pytest.mark.parametrize("clip_id", ["../../etc/passwd", "/etc/passwd", "C:/x.mp4", "a/../../b", "a\nb", "..", "x\0"])
def test_no_clip_id_leads_out_of_the_folder(name, clip_id, tmp_path):
    table = LabelTable(Path("x"), OWN_FORMATS[name].unit, (LabelRow(clip_id, "g", 1, start=0, end=3),))
    with pytest.raises(LabelError, match="rename it"):
        write_labels(table, tmp_path / "deep" / "out", OWN_FORMATS[name], WriteOptions())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_two_clips_in_one_file_are_refused(tmp_path):
    rows = tuple(LabelRow(name, "g", 1, start=0, end=3) for name in ("a.mp4", "a.avi"))
    with pytest.raises(LabelError, match=r"two clips would be written to .*a.txt"):
        write_labels(LabelTable(Path("x"), BY_SECONDS, rows), tmp_path / "o", OWN_FORMATS["audacity"], WriteOptions())


@pytest.mark.parametrize("name", OWN_FORMATS)
@pytest.mark.parametrize("what", BROKEN)
def test_broken_files_are_one_sentence_with_the_file(name, what, tmp_path):
    path = tmp_path / "broken.csv"
    path.write_bytes(BROKEN[what])
    given_path = tmp_path if OWN_FORMATS[name].is_folder else path
    with pytest.raises(ClipseqError) as caught:
        read_everything(given_path, DataSettings(label_format=name, labels_fps=25))
    assert str(given_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [n for n, each in OWN_FORMATS.items() if not each.is_folder and n != "intervals"])
def test_a_file_too_large_for_labels_is_not_read(name, tmp_path):
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(100 * 10**6)
    with pytest.raises(LabelError, match=r"large.csv is larger than 64 MB"):
        read_everything(path, DataSettings(label_format=name, labels_fps=25))


def test_the_help_names_what_is_written():
    assert WRITTEN == WRITTEN_FORMATS


def test_nothing_existing_is_overwritten(tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    table = LabelTable(Path("x"), BY_SECONDS, (LabelRow("a", "g", 1, start=0, end=3),))
    with pytest.raises(UsageError, match=r"out.csv exists already"):
        write_labels(table, tmp_path / "out.csv", OWN_FORMATS["boris"], WriteOptions())
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_seconds_become_frames_only_with_a_rate(tmp_path):
    rows = (LabelRow("a", "g", 1, start=0.48, end=0.92), LabelRow("a", "h", 2, start=2.0, end=2.01))
    table = LabelTable(Path("x.csv"), BY_SECONDS, rows)
    with pytest.raises(UsageError, match=r"x.csv counts seconds, the format counts frames: .* --labels-fps"):
        write_labels(table, tmp_path / "out", OWN_FORMATS["frames"], WriteOptions())
    done = write_labels(table, tmp_path / "out", OWN_FORMATS["frames"], WriteOptions(rates={"a": 25}))
    (row,) = read_everything(tmp_path / "out", DataSettings()).rows
    assert (row.label, row.start, row.end) == ("g", 12, 23) and done.left_out == {"too short interval": 1}


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(
        UsageError, match=r"--to 'elna' is unknown: did you mean elan. There are intervals, frames, boris"
    ):
        written_format("elna")
    with pytest.raises(UsageError, match="--to via is only read, not written; choose one of intervals, frames"):
        written_format("via")


class _Plugin(EntryPoint):
    def load(self):
        if self.value == "broken":
            raise ImportError("no such module")
        return LabelFormat(self.value, "Mine", lambda path, head: head.startswith("MINE"), lambda path, options: None)


def test_plug_ins_are_offered_and_broken_ones_named(monkeypatch, caplog):
    found = [_Plugin(name, name, registry.GROUP) for name in ("mine", "broken", "boris")]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == registry.GROUP else [])
    all_formats.cache_clear()
    with caplog.at_level(logging.WARNING):
        formats = all_formats()
    all_formats.cache_clear()
    assert formats["mine"].title == "Mine" and formats["boris"] is OWN_FORMATS["boris"] and "broken" not in formats
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        "the label format broken",
        "the label format boris",
    ]
