"""Runs every verb that writes on a full disk, a read-only one, and onto paths that cannot be what it needs.

    python benchmarks/full_disk.py [--only VERB,VERB]

The disk is a small file system in memory (tmpfs), which only root may mount; each case has a new one.

    full          not a byte is free
    filling       a quarter, half and three quarters of what the verb needs are free; then space is made, and the same
                  command must come to its end
    read-only     the file system is
    wrong kind    a folder where a file is wanted, or a file where a folder is
    below a file  the output's folder is a file
    stdout        what the verb prints goes to a full disk

Right is an exit code of 1 or 2 with exactly one line on standard error that names the path and is no traceback, no
temporary file, and nothing half written under a final name. Exit code 1 where anything is not so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from forked import Forked, preload
from kill_verbs import FIT, damages, temporaries
from tqdm import tqdm

DISK_BYTES = 96 * 2**20
STUCK_SECONDS = 300.0
SITUATIONS = ("full", "filling", "read-only", "wrong kind", "below a file", "stdout")
SHARES = (0.25, 0.5, 0.75)
TINY = ("--backbone", "tiny", "--num-frames", "6", "--decode-threads", "1")


class Verb(NamedTuple):
    """A command that writes.

    Args:
        arguments: Its words; @ begins a path of the world, which lies elsewhere, and % one on the disk.
        there: What of the world is on the disk before.
        files: What it writes on the disk; those with a slash at the end are folders.
        needs: Bytes that it writes; None is measured.
        below: The output that is tried below a file, "" where the command names no new one.
    """

    arguments: tuple[str, ...]
    there: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    needs: int | None = None
    below: str = ""


PER_FRAME = ("--labels", "@frames.csv", "--task", "many-to-many", *FIT)
VERBS = {
    "demo": Verb(("demo", "--output", "%demo"), files=("demo/",), needs=4_000_000, below="demo"),
    "extract": Verb(("extract", "@videos", "--output", "%store", *TINY), files=("store/",), below="store"),
    "show": Verb(("show", "@videos", "--output", "%sheet.png", *TINY[:4]), files=("sheet.png",), below="sheet.png"),
    "import-features": Verb(
        ("import-features", "@features", "--output", "%new", "--fps", "8"), files=("new/",), below="new"
    ),
    "export-features": Verb(("export-features", "@imported", "%out"), files=("out/", "out/a/00.npy"), below="out"),
    "pack": Verb(("pack", "@imported", "%packed.h5"), files=("packed.h5",), below="packed.h5"),
    "verify --repair": Verb(
        ("verify", "--repair", "%damaged"), there=("damaged",), files=("damaged/recipe.json",), needs=0
    ),
    "train": Verb(
        ("train", "@store", *PER_FRAME, "--run", "%run"),
        files=("run/", "run/models/", "run/logs/", "run/alignment.csv"),
        below="run",
    ),
    "evaluate": Verb(
        ("evaluate", "%run"), there=("run",), files=("run/metrics.json", "run/predictions.npz", "run/bouts.csv")
    ),
    "report": Verb(("report", "%evaluated"), there=("evaluated",), files=("evaluated/report.html",)),
    "compare": Verb(
        ("compare", "@store", "--task", "many-to-one", *FIT, "--models", "lstm,meanpool", "--run", "%all"),
        files=("all/", "all/lstm/", "all/metrics.json", "all/predictions.npz"),
        below="all",
    ),
    "predict": Verb(
        ("predict", "@run", "@store", "--output", "%said.csv"), files=("said.csv", "said.bouts.csv"), below="said.csv"
    ),
    "predict VIDEOS": Verb(
        ("predict", "@run", "@videos", "--output", "%said.csv", "--features", "%kept"),
        files=("said.csv", "kept/", "kept/0/"),
        below="kept",
    ),
}
PRINTING = {
    "scan": ("scan", "@videos"),
    "scan --json": ("scan", "@videos", "--json"),
    "info": ("info", "@store"),
    "verify": ("verify", "@store"),
    "export-features": ("export-features", "@imported", "%out"),
    "pack": ("pack", "@imported", "%packed.h5"),
}


class Said(NamedTuple):
    """What a command gave."""

    code: int
    err: str


class Disk:
    """A small file system at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def used(self) -> int:
        """Bytes in use."""
        has = os.statvfs(self.path)
        return (has.f_blocks - has.f_bfree) * has.f_frsize

    def fill(self, free: int) -> None:
        """Leaves so many bytes free, rounded down to pages."""
        has = os.statvfs(self.path)
        size = has.f_bfree * has.f_frsize - free // has.f_frsize * has.f_frsize
        with (self.path / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def make_space(self) -> None:
        """Undoes `fill`."""
        (self.path / "filler").unlink()

    def forbid_writing(self) -> None:
        """Mounts it anew, read-only."""
        _run("mount", "-o", "remount,ro", str(self.path))


@contextmanager
def mounted(path: Path) -> Iterator[Disk]:
    """A new disk; raises `CalledProcessError` where it cannot be mounted."""
    path.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path))
    try:
        yield Disk(path)
    finally:
        _run("umount", "-l", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Bench:
    """The world and its disk.

    Args:
        folder: Where everything goes.
    """

    def __init__(self, folder: Path) -> None:
        self._world, self._at = folder / "world", folder / "disk"
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        self._needs: dict[str, int] = {}
        make_world(self)

    @property
    def world(self) -> Path:
        """The folder that holds it."""
        return self._world

    def clipseq(self, arguments: Sequence[str]) -> Said:
        """Runs one command in a forked process."""
        places = {"@": self._world, "%": self._at}
        words = [str(places[word[0]] / word[1:]) if word[0] in places else word for word in arguments]
        run = Forked(words, self._out, self._err)
        if not run.wait(STUCK_SECONDS):
            run.send(signal.SIGKILL, patience=STUCK_SECONDS)
        assert run.code is not None
        return Said(run.code, self._err.read_text(errors="replace"))

    def try_all(self, name: str) -> dict[str, str]:
        """Situation -> what is wrong there, "" where nothing is; without those that cannot be for this verb."""
        verb = VERBS[name]
        found = {"full": self._full(name, 0), "read-only": self._read_only(verb)}
        shares = [int(share * self.needs(name)) for share in SHARES]
        if self.needs(name):
            found["filling"] = _first(self._full(name, free) for free in shares)
        if verb.files:
            found["wrong kind"] = _first(self._wrong_kind(verb, file) for file in verb.files)
        if verb.below:
            found["below a file"] = self._below_a_file(verb)
        return found

    def needs(self, name: str) -> int:
        """Bytes that a verb takes of the disk."""
        if (known := VERBS[name].needs) is not None:
            return known
        if name not in self._needs:
            with self._disk(VERBS[name]) as disk:
                before = disk.used
                said = self.clipseq(VERBS[name].arguments)
                if said.code:
                    sys.exit(f"{name} gave {said.code}: {said.err[-2000:]}")
                self._needs[name] = disk.used - before
        return self._needs[name]

    @contextmanager
    def _disk(self, verb: Verb) -> Iterator[Disk]:
        with mounted(self._at) as disk:
            for name in verb.there:
                shutil.copytree(self._world / name, self._at / name)
            yield disk

    def _full(self, name: str, free: int) -> str:
        verb = VERBS[name]
        with self._disk(verb) as disk:
            disk.fill(free)
            said = self.clipseq(verb.arguments)
            where = f"with {free:,} bytes free "
            if name == "verify --repair":  # renaming needs no space; its exit code says that there was damage
                return where + self._left() if self._left() else ""
            if wrong := self._wrong(said):
                return where + wrong
            disk.make_space()
            if not free or name == "demo":
                return ""
            again = self.clipseq(verb.arguments)
            return f"{where}and then enough, it gave {again.code}: {again.err[-300:]}" if again.code else ""

    def _read_only(self, verb: Verb) -> str:
        with self._disk(verb) as disk:
            disk.forbid_writing()
            return self._wrong(self.clipseq(verb.arguments))

    def _wrong_kind(self, verb: Verb, file: str) -> str:
        with self._disk(verb):
            target = self._at / file
            if target.is_file():
                target.unlink()
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.endswith("/"):
                target.write_text("a file")
            else:
                target.mkdir()
            wrong = self._wrong(self.clipseq(verb.arguments), ours=target)
            return f"{file}: {wrong}" if wrong else ""

    def _below_a_file(self, verb: Verb) -> str:
        with self._disk(verb):
            (self._at / "file").write_text("a file")
            words = [f"%file/{verb.below}" if word == f"%{verb.below}" else word for word in verb.arguments]
            return self._wrong(self.clipseq(words))

    def _wrong(self, said: Said, ours: Path | None = None) -> str:
        """What is wrong with an answer and with what is left on the disk; `ours`: a file that we put there."""
        lines = said.err.splitlines()
        if said.code not in (1, 2):
            return f"exit code {said.code}: {said.err[-1500:]}"
        if "Traceback" in said.err or len(lines) != 1:
            return f"{len(lines)} lines: {said.err[-1500:]}"
        if str(self._at) not in lines[0]:
            return f"it names no path: {lines[0]}"
        return self._left(ours)

    def _left(self, ours: Path | None = None) -> str:
        if left := temporaries(self._at):
            return f"left {left}"
        filler = {"filler", "file", "damaged"} | ({ours.relative_to(self._at).as_posix()} if ours else set())
        broken = [what for what in damages(self._at) if what.partition(":")[0] not in filler]
        return f"half written: {broken}" if broken else ""


def _first(wrongs: Iterator[str]) -> str:
    """All cases are run, and what is wrong with any is told."""
    return " | ".join(wrong for wrong in wrongs if wrong)


# ---- the world -----------------------------------------------------------------------------------------------------


def make_world(bench: Bench) -> None:
    """Videos, features, stores whole and damaged, and runs trained and evaluated, by the product's own verbs."""
    world, rng = bench.world, np.random.default_rng(0)
    lines = ["clip_id,start_frame,end_frame,label"]
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number:02d}"
        for folder in ("videos", "features"):
            (world / folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write_video(world / "videos" / f"{name}.avi", rng)
        np.save(world / "features" / f"{name}.npy", (rng.normal(size=(2000, 64)) + number % 2).astype(np.float32))
        lines += [f"{name}.avi,{at},{at + 12},{'ab'[(number + at // 12) % 2]}" for at in (0, 12)]
    (world / "frames.csv").write_text("\n".join(lines) + "\n")
    for arguments in (
        ("extract", "@videos", "--output", "@store", *TINY),
        ("import-features", "@features", "--output", "@imported", "--fps", "8"),
        ("train", "@store", *PER_FRAME, "--run", "@run"),
        ("train", "@store", *PER_FRAME, "--run", "@evaluated"),
        ("evaluate", "@evaluated"),
    ):
        if (said := bench.clipseq(arguments)).code:
            sys.exit(f"{' '.join(arguments)} gave {said.code}: {said.err[-2000:]}")
    shutil.copytree(world / "store", world / "damaged")
    shard = next((world / "damaged").glob("shard-*.h5"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    shard.write_bytes(content)


def _write_video(path: Path, rng: np.random.Generator) -> None:
    """24 frames of noise."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 32))
    for _ in range(24):
        writer.write(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    writer.release()


def try_printing(world: Path, disk: Path, arguments: Sequence[str]) -> str:
    """What is wrong where a verb's own output goes to a full disk; a process of its own, since Python's exit counts."""
    places = {"@": world, "%": disk}
    words = [str(places[word[0]] / word[1:]) if word[0] in places else word for word in arguments]
    with mounted(disk), open("/dev/full", "w") as full:
        command = [sys.executable, str(Path(__file__).parents[1] / "pipeline.py"), *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=STUCK_SECONDS)
        lines = done.stderr.splitlines()
        if done.returncode != 1 or len(lines) != 1 or "Traceback" in done.stderr:
            return f"exit code {done.returncode}, {len(lines)} lines: {done.stderr[-600:]}"
        return f"left {temporaries(disk)}" if temporaries(disk) else ""


def report(found: dict[str, dict[str, str]]) -> int:
    """Prints the table and what was wrong; returns how many cases were."""
    print(f"{'':18}" + "".join(f"{name:>14}" for name in SITUATIONS))
    for verb, of_verb in found.items():
        cells = ["-" if name not in of_verb else "WRONG" if of_verb[name] else "ok" for name in SITUATIONS]
        print(f"{verb:18}" + "".join(f"{cell:>14}" for cell in cells))
    wrong = [(verb, name, what) for verb, of_verb in found.items() for name, what in of_verb.items() if what]
    for verb, name, what in wrong:
        print(f"{verb}, {name}: {what}")
    cells = sum(map(len, found.values()))
    print(f"{cells - len(wrong)} of {cells} right")
    return len(wrong)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; the exit code is 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    every = list(dict.fromkeys([*VERBS, *PRINTING]))
    parser.add_argument("--only", default=",".join(every), metavar="VERB,VERB", help="these, in place of all")
    arguments = parser.parse_args(argv)
    wanted = arguments.only.split(",")
    if unknown := [name for name in wanted if name not in every]:
        parser.error(f"--only {', '.join(unknown)} is not among {', '.join(every)}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLIPSEQ_CACHE"] = str(Path(folder) / "cache")
        try:
            with mounted(Path(folder) / "disk"):
                pass
        except (OSError, subprocess.CalledProcessError):
            print("skipped: a file system in memory cannot be mounted here; run it as root on Linux.")
            return 0
        preload()
        bench = Bench(Path(folder))
        found = {name: bench.try_all(name) for name in tqdm([n for n in VERBS if n in wanted], disable=None)}
        for name in (n for n in PRINTING if n in wanted):
            wrong = try_printing(bench.world, Path(folder) / "disk", PRINTING[name])
            found.setdefault(name, {})["stdout"] = wrong
    return 1 if report(found) else 0


if __name__ == "__main__":
    sys.exit(main())
