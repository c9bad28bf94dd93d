import pytest

from extract.store.failures import Failure, append_failure, latest_failures, ledger_line, parse_ledger, read_ledgers

FAILURE = Failure("clap/ü\udcff.avi", "NoFramesError", "no frame\nat all", 10, 20, 30)


def test_a_ledger_survives_the_file(tmp_path):
    for when in (1, 2):
        append_failure(tmp_path / f"failures-w{when}.jsonl", Failure("a", "X", "m", None, None, when))
    append_failure(tmp_path / "failures-w1.jsonl", FAILURE)

    assert read_ledgers(tmp_path) == [
        Failure("a", "X", "m", None, None, 1),
        FAILURE,
        Failure("a", "X", "m", None, None, 2),
    ]


def test_a_torn_last_line_is_ignored():
    line = ledger_line(FAILURE)

    for cut in range(len(line) - 1):
        assert parse_ledger(line + line[:cut]) == [FAILURE]


@pytest.mark.parametrize(
    "line", [b"", b"3", b"[]", b"{}", b"\xff\xfe", b"[" * 99_999, ledger_line(FAILURE).replace(b"30", b'"x"')]
)
def test_a_malformed_line_is_ignored(line):
    assert parse_ledger(line + b"\n" + ledger_line(FAILURE)) == [FAILURE]


def test_the_latest_failure_of_a_clip_counts():
    old, new = Failure("a", "X", "old", 1, 1, 1), Failure("a", "X", "new", 1, 1, 2)

    assert latest_failures([new, old]) == {"a": new}
