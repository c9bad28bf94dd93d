"""What is said about the frames of a live source, and how late."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from extract.text import counted

DELAYS_KEPT = 100_000  # the latest, for the summary


@dataclass(frozen=True)
class LiveLabel:
    """What is said about one sampled frame.

    Args:
        pts_seconds: Its time on the clock of its part.
        frame: Its number among all frames of the part.
        label: The decision; multi-label classes are joined by |.
        raw_label: The decision without post-processing.
        probabilities: Of every class.
        delay_seconds: From when the frame was decoded until its label was.
        part: Number of the part; a new one begins after an interruption.
        picture: What the backbone saw, uint8 (S, S, 3).
    """

    pts_seconds: float
    frame: int
    label: str
    raw_label: str
    probabilities: dict[str, float]
    delay_seconds: float
    part: int
    picture: np.ndarray = field(repr=False)

    @property
    def probability(self) -> float:
        """Of the label; of several, the lowest of theirs; without any, the highest of all."""
        said = [self.probabilities[name] for name in self.label.split("|") if name in self.probabilities]
        return min(said) if said else max(self.probabilities.values())

    def line(self) -> str:
        """Time, label, probability and delay, as text."""
        late = f"({self.delay_seconds:.3f} s late)"
        return f"{self.pts_seconds:10.3f} s  {self.label or '-'}  {self.probability:.2f}  {late}"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "pts_seconds": round(self.pts_seconds, 3),
            "frame": self.frame,
            "label": self.label,
            "raw_label": self.raw_label,
            "probability": round(self.probability, 4),
            "probabilities": {name: round(value, 4) for name, value in self.probabilities.items()},
            "delay_seconds": round(self.delay_seconds, 4),
            "part": self.part,
        }


class Tally:
    """Counts labels, and how fast they came.

    Attributes:
        labels: How many.
        part_seconds: How much of the source they cover, without interruptions.
    """

    def __init__(self) -> None:
        self.labels, self.part_seconds = 0, 0.0
        self._began = self._ended = 0.0
        self._delays: deque[float] = deque(maxlen=DELAYS_KEPT)
        self._before: LiveLabel | None = None

    def add(self, label: LiveLabel) -> None:
        """One more label, just now."""
        self._ended = time.monotonic()
        if not self.labels:
            self._began = self._ended - label.delay_seconds
        elif self._before is not None and self._before.part == label.part:
            self.part_seconds += label.pts_seconds - self._before.pts_seconds
        self.labels, self._before = self.labels + 1, label
        self._delays.append(label.delay_seconds)

    def record(self, *, dropped: int, damaged: int) -> dict[str, Any]:
        """Plain values for JSON: counts, rates, and delays in seconds."""
        spent = max(self._ended - self._began, 1e-9)
        delays = np.array(self._delays or [0.0])
        return {
            "labels": self.labels,
            "dropped": dropped,
            "damaged": damaged,
            "seconds": round(spent, 3),
            "labels_per_second": round(self.labels / spent, 1),
            "times_real_time": round(self.part_seconds / spent, 2),
            "delay_median": round(float(np.median(delays)), 4),
            "delay_95": round(float(np.percentile(delays, 95)), 4),
            "delay_max": round(float(delays.max()), 4),
        }


def tally_text(record: dict[str, Any]) -> str:
    """What `Tally.record` gives, as one line."""
    if not record["labels"]:
        return "no labels"
    rates = f"{record['labels_per_second']:.1f} a second, {record['times_real_time']:.1f} times real time"
    median, most, worst = (f"{record[name]:.3f} s" for name in ("delay_median", "delay_95", "delay_max"))
    lost = f"{counted(record['dropped'], 'frame')} dropped, {record['damaged']:,} damaged"
    said = f"{counted(record['labels'], 'label')} in {record['seconds']:.1f} s ({rates})"
    return f"{said}; late by {median}, 95 % within {most}, at most {worst}; {lost}"
