"""Kills the verbs that write at random moments, runs them again, and compares with what an undisturbed run writes.

    python benchmarks/kill_verbs.py [--verbs train,evaluate,...] [--kills 100] [--seed 0]

`kill_fuzz.py` does it to `extract`. Here every try is a verb in a process forked from this one, which has only imported
it, so that its whole life is the verb's own work. It gets SIGKILL, or in one try of four SIGTERM or Ctrl-C, at a moment
drawn evenly over the seconds of an undisturbed run; in one try of four it kills itself just before or after one of its
calls that sync or name a file. One killed run in three is followed by another kill, the others are run to the end.

    half-written    a file under its final name that cannot be read, whose digest is wrong, or that is neither what was
                    there before nor what an undisturbed run writes
    leftovers       temporary files after SIGTERM or Ctrl-C, or behind a SIGKILL once the next run is through
    different       the next run fails, or its files are not those of an undisturbed run, bit for bit
    untold          a signal ended the process with a traceback or another exit code than 130 and 143

Wall-clock seconds, peak memory and how often the test split was opened may differ, and the digests of files: of weights
the arrays are compared, since Keras notes names of layers that it numbers by what the process has built before.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py
import numpy as np
from forked import Count, Forked, preload
from tqdm import tqdm

from extract.store.reader import open_store
from extract.store.verify import verify
from extract.system.files import DEAD_WRITER_SECONDS, TEMPORARY_PATTERN
from sequence_models.runs.checks import weights_digest
from sequence_models.runs.files import DIGEST, read_arrays, read_record

SIGNALS = (signal.SIGKILL,) * 6 + (signal.SIGTERM, signal.SIGINT)
AIMED_SHARE = 0.25  # of the tries end at a call that syncs or names a file
AGAIN_SHARE = 1 / 3  # of the killed runs are killed once more before they may end
STUCK_SECONDS = 300.0
TOLD = {130, 143}
MAY_DIFFER = {"seconds", "time", "peak_mb", "test_opened", DIGEST, "weights_digest"}
WRONG = ("half-written", "leftovers", "different", "untold")
FIT = ("--epochs", "2", "--hidden", "4", "--cv", "2")


class Verb(NamedTuple):
    """A command on files of the world.

    Args:
        after: The verb whose undisturbed result it begins with, or "features" or "clips", which `make_world` writes.
        arguments: The command line; words with a leading @ are paths in the world.
    """

    after: str
    arguments: tuple[str, ...]


VERBS = {
    "import": Verb("features", ("import-features", "@features", "--output", "@store", "--fps", "8")),
    "pack": Verb("import", ("pack", "@store", "@packed.h5")),
    "merge": Verb("pack", ("merge", "@packed.h5", "@store", "--output", "@merged")),
    "train": Verb(
        "clips", ("train", "@clips", "--labels", "@frames.csv", "--task", "many-to-many", *FIT, "--run", "@run")
    ),
    "evaluate": Verb("train", ("evaluate", "@run")),
    "report": Verb("evaluate", ("report", "@run")),
    "predict": Verb("train", ("predict", "@run", "@clips", "--output", "@predictions.csv")),
    "compare": Verb(
        "clips",
        ("compare", "@clips", "--task", "many-to-one", *FIT, "--models", "lstm,meanpool", "--run", "@all"),
    ),
}


@dataclass
class Tally:
    """What was seen of one verb."""

    seconds: float  # of an undisturbed run
    calls: int  # of an undisturbed run that sync or name a file
    moments: list[float] = field(default_factory=list)  # seconds after its start at which a run was killed
    aimed: int = 0
    completed: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in WRONG})

    @property
    def kills(self) -> int:
        """All of them; each ended a process that was at work."""
        return len(self.moments)


class Aim(NamedTuple):
    """A run that kills itself at one of its calls that sync or name a file."""

    call: int  # counts from 1
    is_behind: bool


class Fuzz:
    """The world: what each verb begins with, and what an undisturbed run of it makes of that.

    Args:
        folder: Where everything goes.
        rng: Decides when and how to kill.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder, self._rng = folder, rng
        self._here = folder / "here"  # every run works under the same names, which run.json keeps
        self._log = folder / "log.txt"
        self._references: dict[str, dict[str, Any]] = {}
        make_world(folder)

    def undisturbed(self, name: str) -> Tally:
        """Runs a verb twice to its end, which must give the same files; keeps the result for the verbs behind it."""
        if not (self._folder / VERBS[name].after).exists():
            self.undisturbed(VERBS[name].after)
        for _ in range(2):
            self._begin(name)
            run = self._start(name)
            if not run.wait(STUCK_SECONDS) or run.code != 0:
                run.send(signal.SIGKILL, patience=STUCK_SECONDS)
                sys.exit(f"{name} ended with {run.code}: {self._said()[-2000:]}")
            found = contents(self._here)
            if found != self._references.setdefault(name, found):
                sys.exit(f"two undisturbed runs of {name} differ: {_differing(found, self._references[name])}")
        shutil.rmtree(self._folder / name, ignore_errors=True)
        shutil.copytree(self._here, self._folder / name)
        return Tally(run.seconds, self._calls.value)

    def kill(self, name: str, times: int, tally: Tally, bar: tqdm) -> None:
        """Kills a verb so many times and lets it end in between."""
        while tally.kills < times:
            self._begin(name)
            self._before = contents(self._here)
            while self._killed(name, tally):
                bar.update()
                if tally.kills == times or self._rng.random() >= AGAIN_SHARE:
                    break
            self._finish(name, tally)

    def _begin(self, name: str) -> None:
        shutil.rmtree(self._here, ignore_errors=True)
        shutil.copytree(self._folder / VERBS[name].after, self._here)  # with the times of the files

    def _start(self, name: str, aim: Aim | None = None) -> Forked:
        words, self._calls = VERBS[name].arguments, Count()
        given = [str(self._here / word[1:]) if word[0] == "@" else word for word in words]
        return Forked(given, self._log, prepare=partial(_watch_calls, self._calls, aim))

    def _killed(self, name: str, tally: Tally) -> bool:
        """Starts a verb and kills it; returns whether it was killed before it ended by itself."""
        rng, number = self._rng, self._rng.choice(SIGNALS)
        aim = Aim(rng.randint(1, tally.calls), rng.random() < 0.5) if rng.random() < AIMED_SHARE else None
        run = self._start(name, aim)
        if aim:
            number = signal.SIGKILL
            run.wait(STUCK_SECONDS)
        else:
            run.wait(rng.uniform(0, tally.seconds))
        moment = time.monotonic() - run.began
        run.send(number, patience=STUCK_SECONDS)
        if run.code == 0 or (run.code == 1 and self._is_there(name)):
            return False  # it was done before the signal came
        tally.moments.append(run.seconds if aim else moment)
        tally.aimed += aim is not None
        tally.signals[signal.Signals(number).name] += 1
        if run.code != -signal.SIGKILL and (run.code not in TOLD or "Traceback" in self._said()):
            self._problem(tally, "untold", f"{name} ended with {run.code}: {self._said()[-1500:]}")
        left = [file for file in temporaries(self._here) if f"-{run.pid}-" in file]  # others are of an earlier kill
        if number != signal.SIGKILL and left:
            self._problem(tally, "leftovers", f"{name}, {signal.Signals(number).name}: {left}")
        for what in self._half_written(name):
            self._problem(tally, "half-written", f"{name}: {what}")
        return True

    def _half_written(self, name: str) -> Iterator[str]:
        """What is wrong with the files under their final names."""
        yield from damages(self._here)
        try:
            found = contents(self._here)
        except Exception as error:
            yield f"cannot be read: {error}"
            return
        for file, content in found.items():
            if content not in (self._before.get(file), self._references[name].get(file)) and not _grows(file):
                yield f"{file} is neither what was there before nor what an undisturbed run writes"

    def _finish(self, name: str, tally: Tally) -> None:
        """Runs a killed verb to its end, long after, and compares."""
        for path in self._here.rglob(TEMPORARY_PATTERN):
            long_ago = time.time() - 2 * DEAD_WRITER_SECONDS
            os.utime(path, (long_ago, long_ago))
        run = self._start(name)
        run.wait(STUCK_SECONDS)
        if run.code != 0 and not (run.code == 1 and self._is_there(name)):
            run.send(signal.SIGKILL, patience=STUCK_SECONDS)
            self._problem(tally, "different", f"{name} again gave {run.code}: {self._said()[-1500:]}")
            return
        tally.completed += 1
        if left := temporaries(self._here):
            self._problem(tally, "leftovers", f"{name}, after the next run: {left}")
        for what in damages(self._here):
            self._problem(tally, "half-written", f"{name}, after the next run: {what}")
        found = contents(self._here)
        if found != self._references[name]:
            self._problem(tally, "different", f"{name}: {_differing(found, self._references[name])}")

    def _is_there(self, name: str) -> bool:
        """Whether `pack` refuses since an earlier try had come to its end."""
        return name == "pack" and "exists already" in self._said()

    def _said(self) -> str:
        return self._log.read_text(errors="replace")

    def _problem(self, tally: Tally, kind: str, what: str) -> None:
        tally.problems[kind].append(what)
        tqdm.write(f"{kind}: {what}")


# ---- what files hold -----------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, Any]:
    """What every file and store of the world holds, apart from what may differ from run to run."""
    return {path.relative_to(folder).as_posix(): _content(path) for path in _files(folder)}


def damages(folder: Path) -> Iterator[str]:
    """The files under their final names that are not whole."""
    for path in _files(folder):
        try:
            if what := _damage(path):
                yield f"{path.relative_to(folder)}: {what}"
        except Exception as error:
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {error}"


def temporaries(folder: Path) -> list[str]:
    """Files that nobody finished."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(TEMPORARY_PATTERN))


def _files(folder: Path) -> Iterator[Path]:
    """All files but temporary ones; a store is one."""
    for path in sorted(folder.iterdir()):
        if path.match(TEMPORARY_PATTERN):
            continue
        if path.is_dir() and not (path / "recipe.json").exists():
            yield from _files(path)
        else:
            yield path


def _is_weights(path: Path) -> bool:
    return path.name.endswith(".weights.h5")


def _content(path: Path) -> Any:
    if path.suffix == ".h5" and _is_weights(path):
        return _datasets(path)
    if path.is_dir() or path.suffix == ".h5":
        return _rows(path)
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_bytes()))
    if path.suffix == ".npz":
        arrays = read_arrays(path, again="")
        return {name: _bits(array) for name, array in arrays.items() if name not in MAY_DIFFER}
    if path.suffix == ".csv" and path.parent.name == "logs":
        rows = list(csv.DictReader(path.open(newline="")))
        return [{name: cell for name, cell in row.items() if name not in MAY_DIFFER} for row in rows]
    return path.read_bytes()


def _rows(path: Path) -> Any:
    store = open_store(path)
    clips = {clip_id: store.read(clip_id) for clip_id in store.clip_ids}
    rows = {c: tuple(map(_bits, (r.embeddings, r.frame_indices, r.pts_seconds))) for c, r in clips.items()}
    return store.recipe, rows, sorted(store.failures())


def _datasets(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: _bits(item[()])} if hasattr(item, "dtype") else {}))
    return found


def _bits(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    array = np.asarray(array)
    return array.dtype.str, array.shape, array.tobytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if key not in MAY_DIFFER}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _damage(path: Path) -> str:
    """What is wrong with one file or store, "" where nothing is."""
    if path.is_dir() or (path.suffix == ".h5" and not _is_weights(path)):
        report = verify(path)
        return "" if report.is_sound and not open_store(path).damaged else str(report.damages)
    if path.suffix == ".json":
        if DIGEST in json.loads(path.read_bytes()):
            read_record(path, again="")
        weights = path.with_suffix(".weights.h5")
        noted = json.loads(path.read_bytes()).get("weights_digest")
        return "it notes other weights" if noted and noted != weights_digest(weights) else ""
    if path.suffix == ".csv":
        text = path.read_text(encoding="utf-8")
        widths = {len(row) for row in csv.reader(text.splitlines())}
        return "" if text.endswith("\n") and len(widths) == 1 else f"rows of {sorted(widths)} cells"
    if path.suffix == ".html":
        return "" if path.read_text(encoding="utf-8").rstrip().endswith("</html>") else "it is cut off"
    _content(path)
    return ""


def _grows(file: str) -> bool:
    """Whether a file is added to while a verb works: logs, a store, the list of models that are done."""
    return file.endswith(("compare.json", "store", "merged")) or "/logs/" in file


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


# ---- the world and its processes -----------------------------------------------------------------------------------


def make_world(folder: Path) -> None:
    """What the first verbs begin with: features of 24 MB, and 12 small clips of two classes with labels per frame."""
    rng = np.random.default_rng(0)
    (folder / "features" / "features").mkdir(parents=True)
    for number in range(24):
        np.save(folder / "features" / "features" / f"{number:02d}.npy", rng.normal(size=(4000, 64)).astype(np.float32))
    clips = folder / "clips"
    lines = ["clip_id,start_frame,end_frame,label"]
    for number in range(12):
        clip_id = f"{'ab'[number % 2]}/{number:02d}"
        (folder / "small" / clip_id).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / "small" / f"{clip_id}.npy", (rng.normal(size=(40, 8)) + number % 2).astype(np.float32))
        lines += [f"{clip_id},{at},{at + 20},{'ab'[(number + at // 20) % 2]}" for at in (0, 20)]
    run = Forked(
        ["import-features", str(folder / "small"), "--output", str(clips / "clips"), "--fps", "8"], folder / "log"
    )
    if not run.wait(STUCK_SECONDS) or run.code != 0:
        sys.exit(f"import-features ended with {run.code}: {(folder / 'log').read_text()[-2000:]}")
    (clips / "frames.csv").write_text("\n".join(lines) + "\n")


def _watch_calls(calls: Count, aim: Aim | None) -> None:
    """Counts the calls of this process that sync or name a file; at the one that is aimed at it ends."""
    for name in ("fsync", "replace", "link"):
        setattr(os, name, _counting(getattr(os, name), calls, aim))


def _counting(call: Callable[..., Any], calls: Count, aim: Aim | None) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        calls.value += 1
        number = calls.value
        if aim == (number, False):
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if aim == (number, True):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted


# ---- the command ---------------------------------------------------------------------------------------------------


def report(tallies: dict[str, Tally]) -> None:
    """Prints the table."""
    columns = ("alone s", "kills", "aimed", "from s", "to s", "run again", *WRONG)
    print(f"{'verb':10}" + "".join(f"{name:>13}" for name in columns))
    for name, tally in tallies.items():
        moments = (min(tally.moments, default=0.0), max(tally.moments, default=0.0))
        cells = [f"{tally.seconds:.2f}", tally.kills, tally.aimed, *(f"{m:.2f}" for m in moments), tally.completed]
        print(f"{name:10}" + "".join(f"{cell:>13}" for cell in [*cells, *(len(tally.problems[k]) for k in WRONG)]))
    signals = sum((tally.signals for tally in tallies.values()), Counter())
    print("signals: " + "  ".join(f"{name} {count}" for name, count in sorted(signals.items())))
    counts = {kind: sum(len(tally.problems[kind]) for tally in tallies.values()) for kind in WRONG}
    kills = sum(tally.kills for tally in tallies.values())
    print(f"{kills} kills, all of them at work, " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))


def fuzz_verbs(names: Sequence[str], *, kills: int, seed: int) -> int:
    """Kills verbs and prints the table.

    Args:
        names: Of `VERBS`.
        kills: Of all verbs together, as evenly as can be.
        seed: Decides when and how.

    Returns:
        The exit code: 1 where anything was wrong.
    """
    unknown = [name for name in names if name not in VERBS]
    if unknown:
        sys.exit(f"--verbs {', '.join(unknown)} is not among {', '.join(VERBS)}")
    preload()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=kills, unit=" kills", disable=None) as bar:
        os.environ["CLIPSEQ_CACHE"] = str(Path(folder) / "cache")
        fuzz = Fuzz(Path(folder), random.Random(seed))
        for number, name in enumerate(names):
            bar.set_postfix_str(name)
            tallies[name] = fuzz.undisturbed(name)
            fuzz.kill(name, kills // len(names) + (number < kills % len(names)), tallies[name], bar)
    report(tallies)
    return 1 if any(any(tally.problems.values()) for tally in tallies.values()) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; the exit code is 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verbs", default=",".join(VERBS), metavar="A,B", help=f"of {', '.join(VERBS)} (all)")
    parser.add_argument("--kills", type=int, default=100, help="of all verbs together")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return fuzz_verbs(arguments.verbs.split(","), kills=arguments.kills, seed=arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
