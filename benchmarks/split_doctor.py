"""Precision and recall of the split doctor on planted near-duplicates of real clips, and how much they inflate a score.

    python benchmarks/split_doctor.py ../shared/data/ut_interaction_set1/videos doctor/

Every video is copied re-encoded at low quality, cropped by 5 to 10 %, without its first 10 frames, mirrored, and all
but mirrored at once. Originals and copies are embedded with the default backbone. Then 10 times the originals are
divided at random into 3/4 to train on and 1/4 to test on, and copies of 10 training clips join the test part under
other names. A named pair is right if it is a copy and its source; the other test clips show the same people and places
and are no copies. The doctor's limit was set with these clips in view.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import pipeline
from sequence_models.clips.loading import load_clips
from sequence_models.models.baselines import fit_baseline
from sequence_models.records import Clip
from sequence_models.splits.near_duplicates import find_near_duplicates

KINDS = ("re-encoded", "cropped", "shifted", "mirrored", "all at once")
LOW_QUALITY, GOOD_QUALITY = 35, 20  # x264's crf
SHIFT = 10
DIVISIONS, PLANTED = 10, 10


@dataclass
class Tally:
    """What was found over all divisions of one kind of copy."""

    right: int = 0
    wrong: int = 0
    planted: int = 0
    hits: int = 0
    tested: int = 0
    hits_without: int = 0
    tested_without: int = 0

    def text(self) -> str:
        """Precision, recall, and the accuracy with and without what was named."""
        named = self.right + self.wrong
        precision = f"{self.right / named:.3f}" if named else "none named"
        without = self.hits_without / self.tested_without
        return (
            f"precision {precision} ({self.wrong} wrong)  recall {self.right / self.planted:.3f}  "
            f"mean-pool accuracy {self.hits / self.tested:.3f}, without the named clips {without:.3f}"
        )


def make_copies(videos: Path, folder: Path) -> None:
    """Write one copy of every kind of every video below folder/<kind>/."""
    for number, path in enumerate(sorted(videos.glob("*/*.avi"))):
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        cropped = _crop(np.stack(frames), np.random.default_rng(number))
        copies = {
            "re-encoded": (frames, LOW_QUALITY),
            "cropped": (cropped, GOOD_QUALITY),
            "shifted": (frames[SHIFT:], GOOD_QUALITY),
            "mirrored": ([frame[:, ::-1] for frame in frames], GOOD_QUALITY),
            "all at once": (cropped[SHIFT:], LOW_QUALITY),
        }
        for kind, (pictures, quality) in copies.items():
            _write(folder / kind / path.parent.name / f"{path.stem}.mp4", pictures, quality)


def measure(originals: list[Clip], copies: dict[str, Clip], kind: str) -> Tally:
    """Plant copies of one kind in random divisions and count what the doctor names."""
    tally = Tally()
    for seed in range(DIVISIONS):
        order = np.random.default_rng(seed).permutation(len(originals))
        train = [originals[index] for index in order[: 3 * len(order) // 4]]
        planted = {f"other {clip.clip_id}": clip.clip_id for clip in train[:PLANTED]}
        test = [originals[index] for index in order[3 * len(order) // 4 :]]
        for name, source in planted.items():
            copy = copies[f"{kind}/{source.removesuffix('.avi')}.mp4"]
            test.append(replace(copy, clip_id=name, labels=_label_of(source, originals)))
        pairs = find_near_duplicates(train, test)
        right = [pair for pair in pairs if planted.get(pair.clip_id) == pair.other_id]
        tally.right, tally.wrong = tally.right + len(right), tally.wrong + len(pairs) - len(right)
        tally.planted += len(planted)
        _add_accuracy(tally, train, test, {pair.clip_id for pair in pairs})
    return tally


def main(videos: Path, folder: Path) -> None:
    """Make the copies and features that are not there yet, and print one line per kind of copy."""
    if not (folder / "copies").is_dir():
        make_copies(videos, folder / "copies")
    for name, source in (("originals", videos), ("copied", folder / "copies")):
        pipeline.main(["extract", str(source), "--output", str(folder / name), "--every", "3"])
    originals = list(load_clips([folder / "originals"], None, task="many-to-one").clips)
    copies = {clip.clip_id: clip for clip in load_clips([folder / "copied"], None, task="many-to-one").clips}
    for kind in KINDS:
        print(f"{kind:12} {measure(originals, copies, kind).text()}")


def _add_accuracy(tally: Tally, train: list[Clip], test: list[Clip], named: set[str]) -> None:
    baseline = fit_baseline("meanpool_logreg", train, 1 + max(int(clip.labels) for clip in train), seed=0)
    for clip, prediction in zip(test, baseline.predict(test), strict=True):
        hit = int(prediction.probabilities.argmax() == clip.labels)
        tally.hits, tally.tested = tally.hits + hit, tally.tested + 1
        if clip.clip_id not in named:
            tally.hits_without, tally.tested_without = tally.hits_without + hit, tally.tested_without + 1


def _label_of(clip_id: str, clips: list[Clip]) -> np.ndarray:
    return next(clip.labels for clip in clips if clip.clip_id == clip_id)


def _crop(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = frames.shape[1:3]
    share = rng.uniform(0.05, 0.10)
    top, left = (int(side * share * rng.uniform()) for side in (height, width))
    return frames[:, top : top + int(height * (1 - share)), left : left + int(width * (1 - share))]


def _write(path: Path, frames: list[np.ndarray] | np.ndarray, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])  # x264 wants even sides
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(quality)}
        for picture in frames:
            even = np.ascontiguousarray(picture[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
