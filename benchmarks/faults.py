"""Runs the commands on folders of inputs that once came out wrong without a word, and says what is right now.

    python benchmarks/faults.py ../shared/data/faults

Each folder is one kind of fault; a case without its folder is passed over. A line per case, what was seen where it is
wrong, and `N of N right` at the end. Exit code 1 where one is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import pipeline
from extract.store.reader import Store, open_store

PIXELS = ("--backbone", "pixels", "--image-size", "64")
PER_FRAME = ("--task", "many-to-many", "--epochs", "1", "--hidden", "4", "--cv", "2")


class Said(NamedTuple):
    """What one command gave: its exit code, and all that it printed, on one line."""

    code: int
    text: str

    def check(self, code: int, *expected: str) -> str:
        """ "" where the exit code and every expected pattern are there, else what is not."""
        missing = [pattern for pattern in expected if not re.search(pattern, self.text)]
        if self.code == code and not missing:
            return ""
        return f"exit code {self.code}, not said: {missing}; said: {self.text[-300:]}"


class Case(NamedTuple):
    """A named check of one folder; it returns what is wrong, "" where nothing is."""

    name: str
    check: Callable[[Path, Path], str]


CASES: list[Case] = []


def case(name: str) -> Callable[[Callable[[Path, Path], str]], Callable[[Path, Path], str]]:
    """Registers a check under the name of its folder and what is right."""

    def register(check: Callable[[Path, Path], str]) -> Callable[[Path, Path], str]:
        CASES.append(Case(name, check))
        return check

    return register


def clipseq(*words: object) -> Said:
    """Runs one command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = pipeline.main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return Said(code, " ".join(f"{out.getvalue()} {err.getvalue()}".split()))


def numbers(store: Store, clip_id: str) -> list[int]:
    """What the frames of a clip say that they are: 16 black and white blocks, 4 x 4, the last always white."""
    frames = store.read(clip_id).embeddings
    step = frames.shape[1] // 4
    blocks = frames[:, step // 2 :: step, step // 2 :: step].mean(axis=3) > 110
    return (blocks.reshape(len(frames), 16)[:, :15] * (1 << np.arange(15))).sum(axis=1).tolist()


def extracted(target: object, scratch: Path, *flags: str) -> tuple[Said, Store]:
    """A store of frames."""
    output = scratch / f"store{len(list(scratch.iterdir()))}"
    said = clipseq("extract", target, "--output", output, *PIXELS, *flags)
    return said, open_store(output)


def wrong_frames(folder: Path, scratch: Path, rules: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    """Clips whose frames are not those that their indices say, or that lost any."""
    for rule in rules:
        said, store = extracted(folder, scratch, *rule)
        if said.code:
            yield f"{rule}: {said.text[-200:]}"
        for clip_id in store.clip_ids:
            clip = store.read(clip_id)
            beside = np.array(numbers(store, clip_id)) - clip.frame_indices  # a hundred where two files were joined
            if (beside % 100).any():
                yield f"{clip_id} {rule}: {numbers(store, clip_id)[:8]} for {clip.frame_indices[:8].tolist()}"
            if clip.truth and clip.truth.lost_spans:
                yield f"{clip_id} {rule}: lost {clip.truth.lost_spans}"


@case("A02 a broken feature file fails alone")
def broken_features(folder: Path, scratch: Path) -> str:
    wrong = []
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        said = clipseq("import-features", each, "--output", scratch / each.name)
        wrong.append(said.check(1, r"failed  ?m: .* cannot be read as features", "done 2 skipped 0 failed 1"))
    return "; ".join(filter(None, wrong))


@case("B01 interlaced frames hold their numbers")
def interlaced(folder: Path, scratch: Path) -> str:
    """By seeking and not; the fields of one frame are of two numbers where the content is interlaced."""
    wrong = []
    for rule in (("--every", "1"), ("--num-frames", "4")):
        said, store = extracted(folder, scratch, *rule)
        wrong.append(said.check(0))
        for clip_id in store.clip_ids:
            frames, indices = store.read(clip_id).embeddings, store.read(clip_id).frame_indices
            is_black = frames.reshape(len(frames), -1).max(axis=1) < 60
            read = numbers(store, clip_id)
            far = [
                index for index, number in zip(indices.tolist(), read, strict=True) if number not in (index, 2 * index)
            ]
            if is_black[indices > 0].any() or (clip_id.startswith("mbaff") and far):
                wrong.append(f"{clip_id} {rule}: black {is_black.sum()}, {read[:8]} for {indices[:8].tolist()}")
    return "; ".join(filter(None, wrong))


@case("B02 H.264 in AVI loses nothing and has one answer")
def h264_in_avi(folder: Path, scratch: Path) -> str:
    rules = (("--every", "1"), ("--num-frames", "4"), ("--every", "7"), ("--every", "1", "--on-corrupt", "fail"))
    return "; ".join(wrong_frames(folder, scratch, rules))


@case("B04 frames spread over a pause are as many as asked for")
def pauses(folder: Path, scratch: Path) -> str:
    wrong = [*wrong_frames(folder, scratch, (("--num-frames", "8"), ("--num-frames", "60")))]
    for number in (8, 60):
        _, store = extracted(folder, scratch, "--num-frames", str(number))
        wrong += [f"{name}: {length} of {number}" for name, length in store.lengths().items() if length != number]
    return "; ".join(wrong)


@case("B05 pictures that are left out are named")
def pictures_left_out(folder: Path, scratch: Path) -> str:
    said = [clipseq("extract", folder / "clips", "--output", scratch / "s", *PIXELS), clipseq("scan", folder / "clips")]
    return "; ".join(
        filter(None, (each.check(0, r"left out 12 files .*a/img \(0\)\.jpg.* and 9 more") for each in said))
    )


@case("B08 columns that mean nothing are refused or named")
def list_columns(folder: Path, scratch: Path) -> str:
    said = [
        clipseq("extract", folder / f"{name}.csv", "--output", scratch / name, *PIXELS).check(2, pattern)
        for name, pattern in (("list8", "start_frame, end_frame"), ("list12", "start, end"))
    ]
    return "; ".join(filter(None, said))


@case("B09 inclusive ends are named with the flags that mend them")
def inclusive_ends(folder: Path, scratch: Path) -> str:
    clipseq("import-features", folder / "npy", "--output", scratch / "s", "--fps", "25")
    wrong = []
    for name, flags in (
        ("one", ("--labels-end", "inclusive", "--labels-from", "1")),
        ("zero", ("--labels-end", "inclusive")),
    ):
        words = ("train", scratch / "s", "--labels", folder / f"var_{name}_incl.csv", *PER_FRAME)
        for more in ((), ("--background", "none")):
            wrong.append(clipseq(*words, "--run", scratch / "r", *more).check(1, "one frame before", *flags))
        mended = clipseq(*words, "--run", scratch / name, *flags)
        wrong.append(mended.check(0) or ("still a hole" if "without a label" in mended.text else ""))
    return "; ".join(filter(None, wrong))


@case("B10 classes that look alike are named in pairs")
def look_alikes(folder: Path, scratch: Path) -> str:
    clipseq("import-features", folder / "npy", "--output", scratch / "s", "--fps", "25")
    said = [
        clipseq("train", scratch / "s", "--labels", folder / f"{name}.csv", "--run", scratch / name, *PER_FRAME)
        for name in ("case", "nfc_nfd", "zwsp")
    ]
    return "; ".join(filter(None, (each.check(0, "the classes .* and .* look alike") for each in said)))


@case("B12 a number that is no feature is named with clip and column")
def no_features(folder: Path, scratch: Path) -> str:
    clipseq("import-features", folder / "sentinel", "--output", scratch / "s", "--fps", "25")
    words = ("train", scratch / "s", "--labels", folder / "clip.csv", "--task", "many-to-one", "--epochs", "1")
    return clipseq(*words, "--run", scratch / "r").check(1, r"holds -3\.4\S* in column \d+ of timestep \d+")


@case("B14 features that lie the other way round are suspected, and none stored")
def other_way_round(folder: Path, scratch: Path) -> str:
    said = clipseq("import-features", folder / "npy", "--output", scratch / "s").check(
        2, "--transpose", "Nothing has been"
    )
    return said or ("a store is there" if (scratch / "s").exists() else "")


@case("B18 pictures that use a fraction of their range get a remark")
def dark_pictures(folder: Path, scratch: Path) -> str:
    target, dark = folder / "gray12in16tif", r"levels up to 3,\d+ of 65,535"
    said = [clipseq("extract", target, "--output", scratch / "s", *PIXELS), clipseq("scan", target)]
    return "; ".join(filter(None, (each.check(0, dark) for each in said)))


@case("B19 a file name that is no UTF-8 costs at most its clip")
def no_utf8(folder: Path, scratch: Path) -> str:
    videos = scratch / "videos"
    videos.mkdir()
    content = (folder / "a.mp4").read_bytes()
    (videos / "good.mp4").write_bytes(content)
    Path(os.fsdecode(os.fsencode(videos) + b"/b\xff\xfe.mp4")).write_bytes(content)
    said, store = extracted(videos, scratch)
    return said.check(0, "done 2") or ("" if len(store) == 2 else f"{len(store)} clips")


def main() -> int:
    """Runs every case whose folder is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", type=Path, help="the folder of the cases, one folder each: A02, B01, ...")
    folder = parser.parse_args().faults.resolve()
    right = run = 0
    for name, check in CASES:
        place = folder / name.split()[0]
        if not place.is_dir():
            print(f"not here  {name}")
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            wrong = check(place, Path(scratch))
        run, right = run + 1, right + (not wrong)
        seconds = time.perf_counter() - began
        print(f"{'WRONG' if wrong else 'right':<8}  {name} ({seconds:.1f} s){': ' if wrong else ''}{wrong}")
    print(f"{right} of {run} right")
    return 0 if run and right == run else 1


if __name__ == "__main__":
    raise SystemExit(main())
