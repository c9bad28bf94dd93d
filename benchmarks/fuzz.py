"""Changes files at random and gives them to the verbs that read them; counts what became of it.

    python benchmarks/fuzz.py VIDEOS --seconds 1200 [--seed 0] [--only KIND] [--keep DIR]

VIDEOS is a folder, of which the smallest that give 6 frames are taken. Of them a store, a packed store, features,
weights, a trained and evaluated run and label files are made. Then every case changes one file (bits, bytes, cuts,
repetitions, values of JSON and cells of CSV by others) in a process of its own kind, which is begun anew where it ends
or hangs:

    refused     exit code 1 or 2 and a sentence, or a clip that failed alone
    unharmed    accepted, and what was read is what the unchanged file gives
    other       accepted, and read as something else: right only for files that are meant to be edited
    silent      accepted, and read as something else, in a file that carries a digest
    traceback, crash, hang      never right

Exit code 1 where one of the last four was seen; --keep collects the files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from tqdm import tqdm

import pipeline
from extract.errors import ClipseqError
from extract.store.reader import open_store

NUM_VIDEOS = 4
HANG_SECONDS = 90
WRONG = ("silent", "traceback", "crash", "hang")
PIXELS = ("--backbone", "pixels", "--image-size", "16", "--num-frames", "6")
VALUES = [None, True, -1, 0, 1e308, 2**70, "", "x", [], {}, [[]], "NaN", "Infinity", "\ud800", "../../x"]
CELLS = ["", "-1", "1e999", "nan", "x", "=1+1", '"', ";", "\t", "0", "99999999999999999999", "ü", "\ufeff"]


# ---- what is changed -----------------------------------------------------------------------------------------------


def mutated(content: bytes, name: str, rng: random.Random) -> bytes:
    """The content with one to three changes, of text in its own terms half of the time."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        if name.endswith((".json", ".jsonl")) and rng.random() < 0.6:
            content = _other_value(content, rng)
        elif name.endswith((".csv", ".txt")) and rng.random() < 0.6:
            content = _other_cell(content, rng)
        else:
            content = _other_bytes(content, rng)
    return content


def _other_bytes(content: bytes, rng: random.Random) -> bytes:
    changed, size = bytearray(content), len(content)
    at = rng.randrange(size) if size else 0
    # Headers and tables are where readers go astray.
    at = rng.randrange(min(size, 2048)) if size and rng.random() < 0.5 else at
    length = min(rng.choice((1, 2, 4, 8, 64, 4096)), size - at)
    how = rng.randrange(7)
    if how == 0 and size:
        changed[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        changed[at : at + length] = rng.randbytes(length)
    elif how == 2:
        changed[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f")) * length
    elif how == 3:
        del changed[at:]
    elif how == 4:
        del changed[at : at + length]
    elif how == 5:
        changed[at:at] = changed[at : at + length]
    else:
        changed[at:at] = rng.randbytes(length)
    return bytes(changed)


def _other_value(content: bytes, rng: random.Random) -> bytes:
    """JSON with one value, anywhere in it, replaced, removed or named otherwise."""
    try:
        whole = json.loads(content.splitlines()[0] if content.count(b"}\n{") else content)
    except (ValueError, IndexError):
        return _other_bytes(content, rng)
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            collect(value[key])

    collect(whole)
    if not places:
        return json.dumps(rng.choice(VALUES)).encode()
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.3:
        holder[rng.choice(("x", str(key).upper()))] = holder.pop(key)
    else:
        holder[key] = rng.choice(VALUES)
    text = json.dumps(whole)
    return text.replace('"NaN"', "NaN").replace('"Infinity"', "Infinity").encode()


def _other_cell(content: bytes, rng: random.Random) -> bytes:
    lines = content.decode("utf-8", "replace").split("\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(",")
    cells[rng.randrange(len(cells))] = rng.choice(CELLS)
    how = rng.random()
    lines[row] = ",".join(cells if how < 0.8 else cells[:-1] if how < 0.9 else [*cells, ""])
    if rng.random() < 0.1:
        lines.insert(row, lines[rng.randrange(len(lines))])
    return "\n".join(lines).encode("utf-8", "surrogateescape")


# ---- who reads it --------------------------------------------------------------------------------------------------


class World:
    """The files that are changed, each of them read by a verb; `folder` is copied for every case.

    Args:
        home: Where `make_world` put them.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cases: dict[str, tuple[list[Path], Callable[[Path, Path], Any], bool]] = {}
        self._add("video", "videos/*", self._extract, edited=True)
        self._add("clip list", "clips.csv", lambda here, _: _verb("scan", here / "clips.csv", *PIXELS[:2]), edited=True)
        self._add("shard", "store/shard-*.h5", self._read_store)
        self._add("packed store", "packed.h5", lambda here, file: self._read_store(here, file, store="packed.h5"))
        self._add("recipe", "store/recipe.json", self._read_store)
        self._add("ledger", "store/failures-*.jsonl", self._extract_again, edited=True)
        self._add("index", "indexed/.index.npz", lambda here, file: self._read_store(here, file, store="indexed"))
        self._add("features", "features/*", self._import, edited=True)
        self._add("torch weights", "weights.pth", self._torch, edited=True)
        self._add("h5 weights", "run/models/*.h5", self._weights, edited=True)
        self._add("run.json", "run/run.json", self._report, edited=True)
        self._add("results", "run/*.npz run/metrics.json", self._report)
        self._add("logs", "run/logs/*", self._report, edited=True)
        for name in ("run/validation.json", "run/choices.json", "run/models/*.json", "run/models/*.h5"):
            self._add("trained", name, self._evaluate)
        for name in ("run/baselines/*", "run/decisions/*"):
            self._add("trained", name, self._evaluate)
        self._add("labels", "labels/*.csv", self._prepare, edited=True)
        self._add("frame texts", "truth/*", lambda here, _: _verb("score", here / "said", here / "truth"), edited=True)

    def _add(self, kind: str, patterns: str, read: Callable[[Path, Path], Any], *, edited: bool = False) -> None:
        found = sorted(path for pattern in patterns.split() for path in self.home.glob(pattern))
        known = self.cases.get(kind, ([], read, edited))[0]
        self.cases[kind] = ([*known, *found], read, edited)

    def run(self, kind: str, seed: int) -> tuple[str, str]:
        """One case: what became of it, and what was said."""
        rng = random.Random(seed)
        files, read, edited = self.cases[kind]
        original = rng.choice(files)
        with tempfile.TemporaryDirectory(dir=self.home.parent) as scratch:
            here = Path(scratch, "w")
            shutil.copytree(self.home, here, symlinks=True)
            file = here / original.relative_to(self.home)
            content = mutated(original.read_bytes(), original.name, rng)
            Path(self.home.parent, f"case-{os.getpid()}").write_bytes(content)
            os.chmod(file, 0o600)
            file.write_bytes(content)
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    found = read(here, file)
            except ClipseqError as error:
                return "refused", str(error)
            except BaseException:
                return "traceback", traceback.format_exc()[-2000:]
        if "Traceback" in said.getvalue():
            return "traceback", said.getvalue()[-2000:]
        if isinstance(found, int) and found in (1, 2):
            return "refused", said.getvalue()[-500:]
        same = found == _expected(self, kind, original)
        return ("unharmed" if same else "other" if edited else "silent"), said.getvalue()[-500:]

    def _extract(self, here: Path, file: Path) -> Any:
        code = _verb("extract", here / "videos", "--output", here / "new", *PIXELS, "--decode-threads", "1")
        return code or _rows(here / "new")

    def _extract_again(self, here: Path, file: Path) -> Any:
        _verb("info", here / "store")
        return _verb("extract", here / "videos", "--output", here / "store", *PIXELS) or _rows(here / "store")

    def _read_store(self, here: Path, file: Path, store: str = "store") -> Any:
        codes = _verb("info", here / store), _verb("verify", here / store)
        if 1 in codes:
            return 1
        return _rows(here / store)

    def _import(self, here: Path, file: Path) -> Any:
        code = _verb("import-features", here / "features", "--output", here / "new")
        return code or _rows(here / "new")

    def _torch(self, here: Path, file: Path) -> Any:
        from extract.backbones.torch_weights import read_torch_weights

        return {name: array.tobytes() for name, array in read_torch_weights(file).items()}

    def _weights(self, here: Path, file: Path) -> Any:
        from sequence_models.models.build import load_model
        from sequence_models.runs.run import read_run

        run = read_run(here / "run")
        model = load_model(run.settings, file, embedding_dim=run.embedding_dim, num_classes=run.num_classes)
        return [array.tobytes() for array in model.get_weights()]

    def _report(self, here: Path, file: Path) -> Any:
        code = _verb("report", here / "run")
        return code or (here / "run" / "report.html").read_text(encoding="utf-8")

    def _evaluate(self, here: Path, file: Path) -> Any:
        code = _verb("evaluate", here / "run")
        return code or json.loads((here / "run" / "metrics.json").read_bytes())["test"]

    def _prepare(self, here: Path, file: Path) -> Any:
        from sequence_models.experiments.prepare import prepare
        from sequence_models.settings import TrainSettings

        task = "many-to-one" if file.name == "labels.csv" else "many-to-many"
        _, data = prepare([here / "tiny"], file, TrainSettings(task), run=here / "prepared")
        return {clip.clip_id: clip.labels.tolist() for clip in data.clips}


def _expected(world: World, kind: str, original: Path) -> Any:
    """What the unchanged file gives."""
    known = _EXPECTED.get((kind, original.name))
    if known is None:
        said = io.StringIO()
        with (
            tempfile.TemporaryDirectory(dir=world.home.parent) as scratch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            here = Path(scratch, "w")
            shutil.copytree(world.home, here, symlinks=True)
            known = world.cases[kind][1](here, here / original.relative_to(world.home))
            if isinstance(known, int) and known:
                raise AssertionError(f"the unchanged {original} is refused: {said.getvalue()}")
            _EXPECTED[kind, original.name] = known
    return known


_EXPECTED: dict[tuple[str, str], Any] = {}


def _verb(*arguments: object) -> int:
    try:
        return pipeline.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


def _rows(path: Path) -> dict[str, bytes]:
    """The rows of every clip, as stage two reads them."""
    from sequence_models.clips.loading import load_unlabelled

    if not open_store(path).clip_ids:
        return {}
    return {clip.clip_id: np.asarray(clip.embeddings[:]).tobytes() for clip in load_unlabelled([path])}


# ---- the world -----------------------------------------------------------------------------------------------------


def make_world(home: Path, videos: Path) -> None:
    """Everything that is changed later, made by the product's own verbs."""
    (home / "videos").mkdir(parents=True)
    for number, path in enumerate(_smallest_that_decode(videos, home.parent / "tried")):
        shutil.copy(path, home / "videos" / f"{number}{path.suffix}")
    (home / "videos" / "broken.avi").write_bytes(b"no video")
    names = [path.name for path in sorted((home / "videos").iterdir()) if path.name != "broken.avi"]
    (home / "clips.csv").write_text("path,label\n" + "".join(f"videos/{name},x\n" for name in names))
    _quietly("extract", home / "videos", "--output", home / "store", *PIXELS)
    _quietly("extract", home / "videos", "--output", home / "tiny", "--backbone", "tiny", "--num-frames", "6")
    (home / "videos" / "broken.avi").unlink()
    _quietly("pack", home / "store", home / "packed.h5")
    rng = np.random.default_rng(0)
    (home / "features").mkdir()
    for ending, save in (("npy", np.save), ("npz", np.savez), ("npz", np.savez_compressed)):
        with (home / "features" / f"{save.__name__}.{ending}").open("wb") as file:
            save(file, rng.normal(size=(30, 4)).astype(np.float32))
    (home / "indexed").mkdir()
    shutil.copytree(home / "store", home / "indexed", dirs_exist_ok=True)
    _write_index(home / "indexed")
    clip_ids = open_store(home / "store").clip_ids
    (home / "labels").mkdir()
    (home / "labels" / "labels.csv").write_text(
        "clip_id,label,group,split\n"
        + "".join(
            f"{c},{'ab'[n % 2]},g{n},{('train', 'train', 'val', 'test')[n % 4]}\n" for n, c in enumerate(clip_ids)
        )
    )
    for name, times in (("frame", "frame_indices"), ("seconds", "pts_seconds")):
        lines = []
        for clip_id in clip_ids:
            at = getattr(open_store(home / "store").read(clip_id), times)
            end = at[5] + (at[5] - at[4]) // 2 if name == "frame" else at[5] + (at[5] - at[4]) / 2
            lines += [f"{clip_id},{at[0]},{at[3]},a\n", f"{clip_id},{at[3]},{end},b\n"]
        header = f"clip_id,start_{name},end_{name},label\n"
        (home / "labels" / f"{name}s.csv").write_text(header + "".join(lines))
    for name in ("said", "truth"):
        (home / name).mkdir()
        for number in range(3):
            (home / name / f"v{number}.txt").write_text("a\n" * 20 + "b\n" * 30 + f"{'abc'[number]}\n" * 10)
    for number in range(12):  # a run needs more clips than the videos are
        with (home / "features" / f"r{number}.npy").open("wb") as file:
            np.save(file, (rng.normal(size=(20, 4)) + number % 2).astype(np.float32))
    _quietly("import-features", home / "features", "--output", home / "imported", "--fps", "8")
    rows = "".join(f"r{n},{s},{s + 10},{'ab'[(n + s // 10) % 2]}\n" for n in range(12) for s in (0, 10))
    (home / "run.csv").write_text("clip_id,start_frame,end_frame,label\n" + rows)
    tell = ("--task", "many-to-many", "--epochs", "1", "--hidden", "4", "--cv", "2", "--missing", "skip")
    _quietly("train", home / "imported", "--labels", home / "run.csv", *tell, "--run", home / "run")
    _quietly("evaluate", home / "run")
    for number in range(12):
        (home / "features" / f"r{number}.npy").unlink()
    _write_torch(home / "weights.pth")
    record = json.loads((home / "run" / "run.json").read_text())
    print("made", ", ".join(sorted(path.name for path in home.iterdir())), f"({len(record['clips'])} clips in the run)")


def _smallest_that_decode(videos: Path, scratch: Path) -> list[Path]:
    found = [path for path in videos.rglob("*") if path.suffix in (".avi", ".mp4", ".mkv", ".webm") and path.is_file()]
    chosen: list[Path] = []
    for number, path in enumerate(sorted(found, key=lambda path: path.stat().st_size)):
        _quietly("extract", path, "--output", scratch / f"{number}", *PIXELS)
        rows = open_store(scratch / f"{number}").lengths() if (scratch / f"{number}" / "recipe.json").exists() else {}
        chosen += [path] if 6 in rows.values() else []
        if len(chosen) == NUM_VIDEOS:
            return chosen
    raise SystemExit(f"{videos} needs {NUM_VIDEOS} videos of 6 frames or more, it has {len(chosen)}")


def _quietly(*arguments: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = _verb(*arguments)
    if code and arguments[0] != "extract":
        raise SystemExit(f"{arguments} gave {code}: {out.getvalue()[-500:]}")


def _write_index(folder: Path) -> None:
    from extract.store import index as store_index

    before, store_index.MIN_NEW_SHARDS = store_index.MIN_NEW_SHARDS, 1
    open_store(folder)
    store_index.MIN_NEW_SHARDS = before


def _write_torch(path: Path) -> None:
    """Two small tensors in torch's older format, without torch."""
    import pickle
    import struct

    from extract.backbones import torch_weights

    state = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01("
    for key in ("0", "1"):
        name = b"X\x01\x00\x00\x00" + key.encode()
        storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + name + b"X\x03\x00\x00\x00cpuK\x06NtQ"
        state += name + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
        state += b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
    state += b"u."
    heads = (torch_weights.MAGIC_NUMBER, torch_weights.PROTOCOL_VERSION, {"little_endian": True})
    content = b"".join(pickle.dumps(head, protocol=2) for head in heads) + state + pickle.dumps(["0", "1"], protocol=2)
    numbers = struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes()
    path.write_bytes(content + numbers * 2)
    torch_weights.read_torch_weights(path)


# ---- the worker and who watches it ---------------------------------------------------------------------------------


def work(home: Path) -> None:
    """Takes "kind<tab>seed" lines and answers each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    world = World(home)
    for kind, (files, _, _) in world.cases.items():
        for file in files:
            _expected(world, kind, file)
    os.dup2(1, 2)  # from here on it is told by the outcomes
    for line in sys.stdin:
        kind, seed = line.rstrip("\n").split("\t")
        answers.write(json.dumps(world.run(kind, int(seed))) + "\n")


class Worker:
    """A process that runs cases."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, __file__, str(home), "--worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, kind: str, seed: int) -> tuple[str, str]:
        """Runs a case; "crash" where the process ends, "hang" where it gives no answer."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(f"{kind}\t{seed}\n")
        stdin.flush()
        if not select.select([stdout], [], [], HANG_SECONDS)[0]:
            self.process.kill()
            return "hang", f"no answer in {HANG_SECONDS} s"
        line = stdout.readline()
        if not line:
            return "crash", f"exit code {self.process.wait()}"
        outcome, text = json.loads(line)
        return outcome, text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs cases until the time is over; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", type=Path, metavar="VIDEOS")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each case has the next one")
    parser.add_argument("--only", metavar="KIND")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        work(arguments.videos)
        return 0
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "world")
        make_world(home, arguments.videos)
        kinds = [arguments.only] if arguments.only else list(World(home).cases)
        worker, seed, end = Worker(home), arguments.seed, time.monotonic() + arguments.seconds
        with tqdm(unit=" cases", disable=None) as bar:
            while time.monotonic() < end:
                kind = kinds[seed % len(kinds)]
                outcome, text = worker.ask(kind, seed)
                counts.setdefault(kind, Counter())[outcome] += 1
                if outcome in WRONG:
                    bar.write(f"{outcome}: {kind}, seed {seed}: {text.strip()[-1500:]}")
                    _keep(arguments.keep, Path(scratch, f"case-{worker.process.pid}"), f"{kind}-{seed}-{outcome}")
                if worker.process.poll() is not None:
                    worker = Worker(home)
                seed += 1
                bar.update()
        worker.process.kill()
        worker.process.wait()
    names = ("refused", "unharmed", "other", *WRONG)
    print(f"{'':16}" + "".join(f"{name:>11}" for name in names))
    for kind, of_kind in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{kind:16}" + "".join(f"{of_kind[name]:>11,}" for name in names))
    return 1 if any(of_kind[name] for of_kind in counts.values() for name in WRONG) else 0


def _keep(folder: Path | None, file: Path, name: str) -> None:
    if folder is not None and file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / name.replace(" ", "-"))


if __name__ == "__main__":
    sys.exit(main())
