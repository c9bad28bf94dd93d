"""Tables: drawn for a terminal, plain for a file."""

from __future__ import annotations

import sys

from extract.system.terminal import PlainStream, table_text

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
