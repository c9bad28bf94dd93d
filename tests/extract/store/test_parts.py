import pytest

from extract.records import Source
from extract.store.parts import Segment, complete_version, longest_beginning

OLD, NEW = Source("a", 1, 1, "old"), Source("a", 2, 2, "new")


def segment(first, length, *, last=0, when=1, name="shard-a", rules=1):
    return Segment(when, name, 0, 0, first, length, last, rules)


def chain(parts, sources=None):
    found = complete_version(parts, lambda part: (sources or {}).get(part, OLD))
    return found and [(part.first_row, part.length) for part in found]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([segment(0, 5, last=1)], [(0, 5)]),
        ([segment(0, 5)], None),
        ([segment(3, 5, last=1)], None),
        ([segment(0, 3), segment(3, 2), segment(5, 4, last=1)], [(0, 3), (3, 2), (5, 4)]),
        ([segment(5, 4, last=1), segment(3, 2), segment(0, 3)], [(0, 3), (3, 2), (5, 4)]),
        ([segment(0, 3), segment(3, 0, last=1)], [(0, 3), (3, 0)]),
        ([segment(0, 3), segment(4, 4, last=1)], None),
        ([segment(0, 3), segment(2, 4, last=1)], None),
        # two writers: one stopped at 6, the other one ended
        ([segment(0, 3), segment(3, 3, when=9), segment(3, 2), segment(5, 4, last=1)], [(0, 3), (3, 2), (5, 4)]),
        # the same rows sealed twice
        ([segment(0, 3), segment(0, 3, when=2), segment(3, 4, last=1)], [(0, 3), (3, 4)]),
        # a whole later version counts, in one part or in several
        ([segment(0, 9, last=1), segment(0, 8, last=1, when=2)], [(0, 8)]),
        ([segment(0, 9, last=1, when=3), segment(0, 4, when=1), segment(4, 5, last=1, when=2)], [(0, 9)]),
        # at the same time the greater name counts
        ([segment(0, 7, last=1, name="shard-b"), segment(0, 8, last=1, name="shard-a")], [(0, 7)]),
    ],
)
def test_the_complete_version_that_was_written_last_counts(parts, expected):
    assert chain(parts) == expected


def test_parts_of_different_sources_do_not_join():
    first, second, other = segment(0, 3), segment(3, 2, last=1), segment(0, 3, when=2)

    assert chain([first, second], {first: OLD, second: NEW}) is None
    assert chain([first, second, other], {first: OLD, second: NEW, other: NEW}) == [(0, 3), (3, 2)]


def test_a_clip_in_ten_thousand_parts_does_not_exhaust_the_stack():
    parts = [segment(number, 1, last=int(number == 9999)) for number in range(10_000)]

    assert len(complete_version(parts, lambda part: OLD)) == 10_000


def test_the_longest_beginning_of_this_source_is_where_work_goes_on():
    parts = [segment(0, 3), segment(3, 2), segment(3, 4), segment(9, 2), segment(0, 6, when=5), segment(7, 1, last=1)]

    found = longest_beginning(parts, OLD, lambda part: OLD, rules=1)

    assert [(part.first_row, part.length) for part in found] == [(0, 3), (3, 4)]
    assert longest_beginning(parts, NEW, lambda part: OLD, rules=1) == []


def test_parts_of_other_rules_are_no_beginning_and_no_link():
    parts = [segment(0, 4), segment(4, 3, rules=2), segment(4, 2, last=1, rules=2)]
    assert longest_beginning(parts, OLD, lambda part: OLD, rules=2) == []
    assert longest_beginning(parts, OLD, lambda part: OLD, rules=1) == parts[:1]
    assert chain(parts) is None
    assert chain([segment(0, 4, rules=2), *parts]) == [(0, 4), (4, 2)]
