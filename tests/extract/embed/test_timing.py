"""One line says who waited for whom, from measured seconds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from extract.embed import timing as stages
from extract.embed.timing import StageSeconds, bottleneck_line


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(stages, "usable_cores", lambda: 4)


def test_a_backbone_that_never_waits_is_the_bottleneck():
    seconds = StageSeconds(
        decode=2.0, backbone=10.0, computing=10.0, backbone_waited=0.2, frames=1950, decode_threads=2
    )
    assert bottleneck_line(seconds) == (
        "model-bound: the backbone could take 195 frames/s, decoding 1,950 frames/s on 2 threads; a GPU, a smaller "
        "--backbone or fewer frames would help, more --decode-threads would not"
    )


def test_a_backbone_that_waits_for_frames_is_not():
    seconds = StageSeconds(decode=16.0, backbone=4.0, computing=4.0, backbone_waited=6.0, frames=8000, decode_threads=2)
    assert bottleneck_line(seconds) == (
        "decoding-bound: the backbone could take 2,000 frames/s, decoding 1,000 frames/s on 2 threads; 60% of the time "
        "no frames were ready; more --decode-threads (each takes one video) or a faster disk would help"
    )


def test_where_all_cores_decode_more_threads_are_not_advised():
    seconds = StageSeconds(decode=40.0, backbone=4.0, computing=4.0, backbone_waited=6.0, frames=8000, decode_threads=4)
    assert bottleneck_line(seconds).endswith("no frames were ready; more cores or a faster disk would help")


def test_where_decoding_takes_most_of_shared_cores_it_is_the_bottleneck():
    seconds = StageSeconds(decode=13.0, backbone=9.0, computing=3.0, backbone_waited=1.0, frames=1950, decode_threads=2)
    assert bottleneck_line(seconds) == (
        "decoding-bound: the backbone could take 650 frames/s, decoding 300 frames/s on 2 threads; decoding takes most "
        "of the cores; more cores, fewer frames or smaller videos would help"
    )


def test_a_slow_disk_is_named():
    seconds = StageSeconds(
        decode=1.0, backbone=5.0, computing=5.0, backbone_waited=1.0, backbone_held=4.0, frames=9, decode_threads=2
    )
    assert bottleneck_line(seconds).startswith("store-bound: ")
    assert "40% of the time rows waited to be written" in bottleneck_line(seconds)


def test_a_short_job_gets_its_rates_and_no_advice():
    seconds = StageSeconds(decode=2.0, backbone=9.0, computing=9.0, backbone_waited=0.9, frames=1800, decode_threads=2)
    assert bottleneck_line(seconds) == "the backbone could take 200 frames/s, decoding 1,800 frames/s on 2 threads"


def test_where_frames_are_stored_no_backbone_is_named():
    seconds = StageSeconds(decode=20.0, backbone=0.1, computing=0.1, backbone_waited=9.9, frames=8000, decode_threads=2)
    assert bottleneck_line(seconds, has_model=False) == (
        "decoding-bound: decoding 800 frames/s on 2 threads; 99% of the time no frames were ready; more "
        "--decode-threads (each takes one video) or a faster disk would help"
    )
    seconds = StageSeconds(decode=20.0, backbone_waited=1.0, backbone_held=9.0, frames=8000, decode_threads=2)
    said = "store-bound: decoding 800 frames/s on 2 threads; 90% of the time rows waited to be written"
    assert bottleneck_line(seconds, has_model=False).startswith(said)


def test_since_last_gives_every_second_once():
    seconds = StageSeconds()
    seconds.add("decode", 2.0)
    assert seconds.since_last()["decode"] == 2.0
    seconds.add("decode", 0.5)
    assert seconds.since_last() == {
        "decode": 0.5, "backbone": 0.0, "store": 0.0,
        "decoders_waited": 0.0, "backbone_waited": 0.0, "backbone_held": 0.0,
    }  # fmt: skip


def test_a_measured_block_counts_also_where_it_fails():
    seconds = StageSeconds()
    with pytest.raises(KeyError), seconds.measure("backbone"):
        raise KeyError
    assert seconds.backbone > 0


def test_every_second_is_one_of_the_backbone_or_of_waiting_by_the_units_that_are_busy(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(stages.time, "perf_counter", lambda: clock.now)
    seconds = StageSeconds()

    def spent():
        return seconds.backbone, seconds.computing, seconds.backbone_waited, seconds.backbone_held

    seconds.start_engine(2)
    clock.now += 1  # no batch was there
    with seconds.measure_engine("backbone"):
        clock.now += 4  # one of two units has one, and no core yet
        with seconds.measure_engine("computing"), seconds.measure_engine("backbone"):
            clock.now += 10  # both have one, one has a core
            with seconds.measure_engine("computing"), seconds.measure_engine("backbone"):
                clock.now += 10  # three batches: two are computed
    assert spent() == (22.0, 15.0, 3.0, 0.0)
    with seconds.measure_engine("backbone_held"), seconds.measure_engine("backbone"):
        clock.now += 6  # one has a batch, the other's rows are not taken
    assert spent() == (25.0, 15.0, 3.0, 3.0)


def test_the_rate_of_the_backbone_is_that_of_its_computing_not_of_its_waiting_for_a_core():
    seconds = StageSeconds(decode=12.0, backbone=20.0, computing=10.0, frames=2000, decode_threads=2)
    said = "model-bound: the backbone could take 200 frames/s, decoding 333 frames/s on 2 threads"
    assert bottleneck_line(seconds).startswith(said)


def test_the_last_wait_is_counted_too(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(stages.time, "perf_counter", lambda: clock.now)
    seconds = StageSeconds()
    seconds.start_engine(1)
    clock.now += 60
    seconds.end_engine()
    assert seconds.backbone_waited == 60.0
