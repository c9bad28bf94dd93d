"""Where the time of an extraction goes, and one line that names the bottleneck."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from extract.system.cores import usable_cores
from extract.text import counted

STAGES = ("decode", "backbone", "store", "decoders_waited", "backbone_waited", "backbone_held")
COUNTED = (*STAGES, "computing", "frames", "decode_threads")
ENGINE_STATES = ("backbone", "computing", "backbone_held")
SHORT_SECONDS = 10.0  # a shorter job says nothing about a long one
BOUND_SHARE = 0.1  # the backbone counts as held up if it waits for more than this share of its time


@dataclass
class StageSeconds:
    """Seconds of each stage of an extraction, on the wall clock.

    Args:
        decode: Reading, decoding and resizing, all decode threads together, without waiting for room or for a core.
        backbone: Time with a batch in the engine; if only some of its units have one, that share of the time.
        store: Writing rows and sealing shards, in parallel with the engine.
        decoders_waited: All decode threads together, waiting for room in the ring: the backbone was slower.
        backbone_waited: The rest of the time, waiting for a full batch: decoding was slower.
        backbone_held: The rest of the time, waiting for rows to be taken: writing was slower.
        computing: The part of `backbone` not spent waiting for a core.
        frames: How many frames, or windows of frames, were embedded.
        rows: What they are: "frame" or "window".
        decode_threads: How many videos were decoded at once.
        workers: How many processes the sums are of.
    """

    decode: float = 0.0
    backbone: float = 0.0
    store: float = 0.0
    decoders_waited: float = 0.0
    backbone_waited: float = 0.0
    backbone_held: float = 0.0
    computing: float = 0.0
    frames: int = 0
    rows: str = "frame"
    decode_threads: int = 0
    workers: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _taken: dict[str, float] = field(default_factory=dict, repr=False)
    _engine_units: int = 1
    _engine_since: float = 0.0  # everything before this is counted
    _engine_calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENGINE_STATES, 0), repr=False)

    def add(self, stage: str, seconds: float) -> None:
        """Add `seconds` to a stage; thread-safe."""
        with self._lock:
            setattr(self, stage, getattr(self, stage) + seconds)

    def embedded(self, frames: int) -> None:
        """Count embedded frames, or windows of frames."""
        with self._lock:
            self.frames += frames

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - began)

    def start_engine(self, units: int) -> None:
        """From now on, split every second among backbone, backbone_waited and backbone_held.

        Args:
            units: How many engine calls are computed at the same time.
        """
        self._engine_units, self._engine_since = units, time.perf_counter()

    def end_engine(self) -> None:
        """Count the time since the last batch; later time is not the engine's."""
        with self._lock:
            self._account_engine()

    @contextmanager
    def measure_engine(self, stage: str) -> Iterator[None]:
        """The block has a batch ("backbone"), computes it ("computing"), or waits with its rows ("backbone_held")."""
        self._change_engine(stage, 1)
        try:
            yield
        finally:
            self._change_engine(stage, -1)

    def _change_engine(self, stage: str, step: int) -> None:
        with self._lock:
            self._account_engine()
            self._engine_calls[stage] += step

    def _account_engine(self) -> None:
        now = time.perf_counter()
        spent, self._engine_since = now - self._engine_since, now
        busy, computing = (
            spent * min(self._engine_calls[state], self._engine_units) / self._engine_units
            for state in ("backbone", "computing")
        )
        self.backbone += busy
        self.computing += computing
        if self._engine_calls["backbone_held"]:
            self.backbone_held += spent - busy
        else:
            self.backbone_waited += spent - busy

    def totals(self) -> dict[str, float]:
        """What is counted so far, for `set_sums`."""
        with self._lock:
            return {name: getattr(self, name) for name in COUNTED}

    def set_sums(self, totals: Collection[Mapping[str, float]]) -> None:
        """Count what several processes have counted, and nothing else."""
        with self._lock:
            self.workers = len(totals)
            for name in COUNTED:
                setattr(self, name, sum(each.get(name, 0) for each in totals))

    def since_last(self) -> dict[str, float]:
        """Seconds of every stage since the last call."""
        with self._lock:
            now = {stage: getattr(self, stage) for stage in STAGES}
            new = {stage: seconds - self._taken.get(stage, 0.0) for stage, seconds in now.items()}
            self._taken = now
        return new


def bottleneck_line(seconds: StageSeconds, *, has_model: bool = True) -> str:
    """One line for the user: what waited for what, how fast each stage could go, and what would speed up a long job.

    Args:
        seconds: The stages of a job that embedded at least one frame.
        has_model: False if the frames themselves are stored, so that only decoding and writing take time.

    Returns:
        Such as "model-bound: the backbone could take 195 frames/s, decoding 1,480 frames/s on 2 threads; ...".
    """
    whole = seconds.backbone + seconds.backbone_waited + seconds.backbone_held
    waited, held = seconds.backbone_waited / max(whole, 1e-9), seconds.backbone_held / max(whole, 1e-9)
    model = seconds.frames * seconds.workers / max(seconds.computing, 1e-9)
    decoding = seconds.frames * seconds.decode_threads / max(seconds.decode, 1e-9)
    unit = f"{seconds.rows}s/s"
    rates = f"the backbone could take {model:,.0f} {unit}, " if has_model else ""
    rates += f"decoding {decoding:,.0f} {unit} on {counted(seconds.decode_threads, 'thread')}"
    if max(waited, held) <= BOUND_SHARE and has_model:
        if model <= decoding:
            name = "model-bound"
            advice = "a GPU, a smaller --backbone or fewer frames would help, more --decode-threads would not"
        else:  # they share the cores
            name = "decoding-bound"
            advice = "decoding takes most of the cores; more cores, fewer frames or smaller videos would help"
    elif waited >= held and has_model and model <= decoding:
        name = "unevenly loaded"
        advice = (
            f"{waited:.0%} of the time no frames were ready although decoding is faster: few videos were open at "
            "once, as at the start and end of a job, and each is decoded by one thread"
        )
    elif waited >= held:
        name = "decoding-bound"
        all_decode = seconds.decode_threads >= usable_cores()
        more = "more cores" if all_decode else "more --decode-threads (each takes one video)"
        advice = f"{waited:.0%} of the time no frames were ready; {more} or a faster disk would help"
    else:
        name = "store-bound"
        advice = f"{held:.0%} of the time rows waited to be written; a faster disk would help"
    return f"{name}: {rates}; {advice}" if whole >= SHORT_SECONDS else rates
