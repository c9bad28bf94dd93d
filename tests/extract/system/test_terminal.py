"""Tables: drawn for a terminal, plain for a file."""

from __future__ import annotations

import sys

from extract.system import terminal
from extract.system.terminal import CountedLines, PlainStream, counted_bar, progress_bars, table_text

ROWS = [["test", "accuracy", "macro_f1"], ["bilstm [1]", "0.817 [0.700, 0.900]", "0.8"], ["mean-pool", "0.5"]]


def on_a_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_in_a_file_a_table_is_plain_text():
    assert table_text(ROWS).splitlines() == [
        "test        accuracy              macro_f1",
        "bilstm [1]  0.817 [0.700, 0.900]  0.8",
        "mean-pool   0.5",
    ]


def test_on_a_terminal_it_has_a_rule_and_numbers_at_the_right(monkeypatch):
    on_a_terminal(monkeypatch, 100)
    head, rule, first, second = table_text(ROWS).splitlines()
    assert set(rule.strip()) <= {"─", " "} and head.endswith("accuracy   macro_f1")
    assert first == "bilstm [1]   0.817 [0.700, 0.900]        0.8" and second.startswith("mean-pool")


def test_in_a_narrow_window_no_number_is_lost_and_no_line_too_long(monkeypatch):
    on_a_terminal(monkeypatch, 30)
    lines = table_text(ROWS).splitlines()
    assert max(map(len, lines)) <= 30
    assert "".join("".join(lines).split()).count("0.817") == 1


def test_a_name_in_a_table_cannot_steer_the_terminal(monkeypatch, capsys):
    on_a_terminal(monkeypatch, 100)
    print(table_text([["test", "score"], ["[bold]\x1b[31mred", "1"]]), file=PlainStream(sys.stdout))
    assert "\x1b" not in (out := capsys.readouterr().out) and "[bold]" in out


def test_where_nobody_sees_a_bar_lines_count_every_half_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with counted_bar(total=10, unit=" fits") as bar:
        assert isinstance(bar, CountedLines)
        for _ in range(10):
            now[0] += 12.0
            bar.set_postfix_str("a fit")
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "3 of 10 fits, about 84 s left",
        "6 of 10 fits, about 48 s left",
        "9 of 10 fits, about 12 s left",
    ]


def test_python_that_asked_for_no_bar_gets_no_lines(capsys):
    with progress_bars(False), counted_bar(total=1, unit=" fits") as bar:
        assert not isinstance(bar, CountedLines)
