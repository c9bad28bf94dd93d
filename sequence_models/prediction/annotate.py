"""Labels on the frames of a video: a panel below the picture with what holds now, its probability, and a ribbon.

groom 0.87                                  0:12.480
░░░░░▓▓▓▓▓▓▓▓▓▓|▓▓▓░░░░░░      10 s before and after now
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extract.decode.redraw import Redrawn, VideoFacts, check_video_output, redraw, video_facts
from extract.system.lettering import class_palette, dejavu, font_for, legible_in, shortened
from extract.system.terminal import plain, progress_bar
from extract.text import counted
from sequence_models.labels.intervals import steps_of_frames
from sequence_models.prediction.filters import bouts
from sequence_models.records import Clip, Prediction

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

LEAST_WIDTH = 320  # smaller pictures are enlarged by a whole factor
MARGIN, TEXT_SIZE, TEXT_HEIGHT, LANE_HEIGHT, LANE_GAP = 6, 14, 22, 10, 2
MOST_LANES = 8
SECONDS_AROUND = 10.0  # before and after now on the ribbon, less for short videos
PAPER, INK, SOFT, EMPTY = "#202124", "#ffffff", "#a0a4aa", "#3c4043"
NOTHING = "\N{EN DASH}"

__all__ = [
    "Panel",
    "Track",
    "VideoFacts",
    "annotate",
    "annotate_prediction",
    "check_video_output",
    "prediction_track",
    "video_facts",
]


@dataclass(frozen=True)
class Track:
    """What is said about each frame of a video.

    Args:
        classes: Their names.
        spans: (class, first frame, frame after the last one), by first frame; frames count from 0 in decoding order.
        steps: int64 (T,), the first frame of each timestep of a prediction; () without probabilities.
        probabilities: float32 (T, K); () without.
    """

    classes: tuple[str, ...]
    spans: tuple[tuple[int, int, int], ...]
    steps: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def lanes(self) -> tuple[tuple[int, ...], ...]:
        """The classes of each lane of the ribbon: one for all, or if they overlap one for each, the longest first."""
        ends = [end for _, _, end in self.spans]
        if all(end <= start for end, (_, start, _) in zip(ends, self.spans[1:], strict=False)):
            return (tuple(range(len(self.classes))),)
        length = np.zeros(len(self.classes), np.int64)
        for k, start, end in self.spans:
            length[k] += end - start
        longest = np.argsort(-length, kind="stable")[:MOST_LANES]
        return tuple((int(k),) for k in longest if length[k])

    @cached_property
    def by_class(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """int64 starts and ends of the spans of every class."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.classes]
        for k, start, end in self.spans:
            found[k].append((start, end))
        pairs = (np.array(each, np.int64).reshape(-1, 2) for each in found)
        return [(pair[:, 0], np.maximum.accumulate(pair[:, 1])) for pair in pairs]

    def said(self, frame: int) -> str:
        """The classes of a frame with their probabilities, such as "groom 0.87"; "" if there is none."""
        there = [
            k
            for k, (starts, ends) in enumerate(self.by_class)
            if (place := int(np.searchsorted(starts, frame, side="right")) - 1) >= 0 and ends[place] > frame
        ]
        if not len(self.probabilities):
            return "   ".join(self.classes[k] for k in there)
        step = int(steps_of_frames(self.steps, np.array([frame]))[0])
        return "   ".join(f"{self.classes[k]} {self.probabilities[step, k]:.2f}" for k in there)


def prediction_track(clip: Clip, prediction: Prediction, vocabulary: Sequence[str], num_frames: int) -> Track:
    """What a run predicts: each frame has the label of the last timestep at or before it, as in the scores.

    Args:
        clip: Of the video.
        prediction: For a whole clip or per timestep.
        vocabulary: K class names.
        num_frames: Of the video.
    """
    probabilities = np.atleast_2d(prediction.probabilities)
    labels = np.atleast_1d(prediction.labels).astype(np.int64)
    steps = clip.frame_indices if prediction.probabilities.ndim > 1 else np.zeros(1, np.int64)
    borders = [0, *steps[1:].tolist(), max(num_frames, int(steps[-1]) + 1)]
    spans = sorted(((k, borders[start], borders[end]) for k, start, end in bouts(labels)), key=lambda span: span[1:])
    return Track(tuple(vocabulary), tuple(spans), steps, probabilities)


def annotate_prediction(
    video: Path, output: Path, clip: Clip, prediction: Prediction, vocabulary: Sequence[str]
) -> str:
    """As `annotate`, with what a run predicts for the video's clip."""
    facts = video_facts(video)
    return annotate(video, output, prediction_track(clip, prediction, vocabulary, len(facts.pts_seconds)), facts)


def annotate(video: Path, output: Path, track: Track, facts: VideoFacts) -> str:
    """Write a video with its labels; returns a line on what was written.

    Args:
        video: The video.
        output: A new .mp4 or .mov.
        track: What to show.
        facts: From `video_facts`.

    Raises:
        VideoError: The video cannot be read.
        WriteError: The output cannot be written.
    """
    panel = Panel(track, facts)
    with progress_bar(total=len(facts.pts_seconds), desc=plain(output.name), unit=" frames") as bar:
        done = redraw(video, output, panel.on, tick=bar.update)
    return f"wrote {output}: {counted(done.num_frames, 'frame')}{_sound_text(done)}"


def _sound_text(done: Redrawn) -> str:
    kept = f", sound ({', '.join(done.kept_sound)}) as it was" if done.kept_sound else ""
    return kept + (
        f"; sound that this file type cannot hold left out: {', '.join(done.lost_sound)}" * bool(done.lost_sound)
    )


class Panel:
    """Draws what a track says below the pictures of a video.

    Args:
        track: What to show.
        facts: Of the video.
    """

    def __init__(self, track: Track, facts: VideoFacts) -> None:
        self._track, self._times = track, np.append(facts.pts_seconds, facts.duration_seconds)
        self._scale = max(1, math.ceil(LEAST_WIDTH / facts.size[0]))
        self._width, self._picture_height = (_even(side * self._scale) for side in facts.size)
        lanes = len(track.lanes)
        self._height = _even(TEXT_HEIGHT + MARGIN + lanes * (LANE_HEIGHT + LANE_GAP))
        self._colours = class_palette(len(track.classes))
        self._around = max(1.0, min(SECONDS_AROUND, facts.duration_seconds / 2))

    def on(self, picture: np.ndarray, frame: int, seconds: float) -> np.ndarray:
        """The picture, enlarged if it is tiny, with the panel of a frame below; uint8, of the same size for all."""
        from PIL import Image, ImageDraw

        panel = Image.new("RGB", (self._width, self._height), PAPER)
        drawn = ImageDraw.Draw(panel)
        self._write(drawn, frame, seconds)
        for lane, classes in enumerate(self._track.lanes):
            self._draw_lane(drawn, TEXT_HEIGHT + lane * (LANE_HEIGHT + LANE_GAP), classes, seconds)
        middle = self._width // 2
        drawn.line((middle, TEXT_HEIGHT - 2, middle, self._height - MARGIN + 1), fill=INK)
        canvas = np.zeros((self._picture_height + self._height, self._width, 3), np.uint8)
        enlarged = np.repeat(np.repeat(picture, self._scale, axis=0), self._scale, axis=1)
        enlarged = enlarged[: self._picture_height, : self._width]  # a video may change its size on the way
        canvas[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
        canvas[self._picture_height :] = np.asarray(panel)
        return canvas

    def _write(self, drawn: ImageDraw, frame: int, seconds: float) -> None:
        time = f"{int(seconds // 60)}:{seconds % 60:06.3f}"
        plain_font = dejavu("", TEXT_SIZE - 2)
        drawn.text((self._width - MARGIN, 3), time, font=plain_font, fill=SOFT, anchor="ra")
        said = self._track.said(frame)
        used = font_for(said, "Bold", TEXT_SIZE)
        room = self._width - 3 * MARGIN - int(plain_font.getlength(time))
        text = shortened(legible_in(said, used), used, room) if said else NOTHING
        drawn.text((MARGIN, 2), text, font=used, fill=INK if said else SOFT)

    def _draw_lane(self, drawn: ImageDraw, top: int, classes: Sequence[int], seconds: float) -> None:
        bottom = top + LANE_HEIGHT - 1
        per_second = self._width / (2 * self._around)
        first, last = seconds - self._around, seconds + self._around
        inside = [(max(edge, first) - first) * per_second for edge in (0.0, min(float(self._times[-1]), last))]
        drawn.rectangle((inside[0], top, inside[1], bottom), fill=EMPTY)
        for k in classes:
            starts, ends = (self._times[np.minimum(frames, len(self._times) - 1)] for frames in self._track.by_class[k])
            for n in range(int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(starts, last))):
                left, right = ((edge - first) * per_second for edge in (starts[n], ends[n]))
                left, right = max(left, 0.0), min(right, float(self._width))
                drawn.rectangle((left, top, max(right - 1, left), bottom), fill=self._colours[k])


def _even(side: int) -> int:
    return side + side % 2
