"""A run as one file: a zip of what `predict` needs, JSON and weights, without code and without pickle.

NAME.clipseq
  manifest.json       format, and for every other member its size and SHA-256
  run.json            settings, classes, recipes, names of clips
  models/             weights of the models that predict new clips, and the records of their fits
  decisions/          the post-processing that every fold chose
  metrics.json        the scores, if the run was evaluated

Members are stored without compression, so that a file never grows when it is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from extract import __version__
from extract.errors import RunError, UsageError
from extract.system.files import MALFORMED, make_folder, open_regular, read_regular, reason_of, sealed_file
from extract.system.typed_json import parse_json, typed_record
from sequence_models.runs.checks import refuse_to_predict
from sequence_models.runs.run import MODEL, Run, read_run

ENDING = ".clipseq"
FORMAT = 1
MANIFEST, METRICS, RUN = "manifest.json", "metrics.json", "run.json"
MOST_MEMBERS = 100_000
MOST_MANIFEST_BYTES = 1 << 26
ENCRYPTED = 1  # bit of the flags of a member
_NAME = re.compile(r"run\.json|metrics\.json|(models|decisions)/(?!\.)[^/\\:\0]+\.(json|weights\.h5)")


@dataclass(frozen=True)
class Member:
    """An entry of the manifest: the size of a member in bytes, and its SHA-256 (hex)."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    format: int
    made_by: str
    members: dict[str, Member]


def write_run_file(run: Run, path: Path) -> None:
    """Write what `predict` needs of a run as one new file; the same run gives the same bytes.

    Args:
        run: A trained run.
        path: The file.

    Raises:
        UsageError: The file does not end in .clipseq.
        RunError: The run is not trained, or changed since, or the file exists.
        WriteError: It cannot be written.
    """
    if path.suffix != ENDING:
        raise UsageError(f"{path} must end in {ENDING}, which marks it as a run for clipseq predict")
    refuse_to_predict(run)
    if path.exists():
        raise RunError(f"{path} exists already: choose another name or remove it.")
    contents = {name: read_regular(run.path / name) for name in [*_required(run), *_optional(run)]}
    members = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    manifest = {"format": FORMAT, "made_by": f"clipseq {__version__}", "members": members}
    make_folder(path.parent)
    with sealed_file(path, exclusive=True) as temporary, zipfile.ZipFile(temporary, "x") as file:
        for name, content in {MANIFEST: json.dumps(manifest, indent=1).encode(), **contents}.items():
            file.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_STORED)


@contextmanager
def run_folder(path: Path) -> Iterator[Path]:
    """Yields a run directory: the one given, or one that a run file is unpacked to until the end of the block.

    Args:
        path: A run directory or a file from `write_run_file`.

    Raises:
        RunError: The file is damaged, or holds what no run file holds; names the file and what is wrong.
    """
    if path.suffix != ENDING or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="clipseq-") as scratch:
        folder = Path(scratch, path.name)
        try:
            _unpack(path, folder)
            run = read_run(folder)
            if missing := [name for name in _required(run) if not (folder / name).exists()]:
                raise ValueError(f"it has no {missing[0]}")
        except (*MALFORMED, NotImplementedError, RunError) as error:
            reason = reason_of(error).replace(str(folder), "it")
            raise RunError(
                f"{path} is not a sound run file ({reason}); get it again from whoever made it, with "
                f"clipseq export RUN {path.name}"
            ) from None
        yield folder


def _required(run: Run) -> list[str]:
    """Names of what a run cannot predict without."""
    seeds = run.seeds_of(run.predicting_fold)
    return [RUN, *(run.model_path(run.predicting_fold, seed).relative_to(run.path).as_posix() for seed in seeds)]


def _optional(run: Run) -> list[str]:
    """Names of what else is there: records of fits, decisions, scores."""
    seeds = run.seeds_of(run.predicting_fold)
    paths = [run.fit_path(run.predicting_fold, seed) for seed in seeds]
    paths += [run.decision_path(fold.name, MODEL) for fold in run.folds]
    return [path.relative_to(run.path).as_posix() for path in [*paths, run.path / METRICS] if path.exists()]


def _unpack(path: Path, folder: Path) -> None:
    """Write the members to a new folder, each checked before it is written; ValueError says what is wrong."""
    with open_regular(path) as raw, zipfile.ZipFile(raw) as file:
        infos = file.infolist()
        _check_members(infos, path.stat().st_size)
        if MANIFEST not in file.NameToInfo:
            raise ValueError(f"it has no {MANIFEST}")
        manifest = typed_record(Manifest, parse_json(file.read(MANIFEST)), "the manifest")
        if manifest.format != FORMAT:
            raise ValueError(f"it has format {manifest.format}, but this clipseq reads {FORMAT}: upgrade clipseq")
        names = [info.filename for info in infos if info.filename != MANIFEST]
        if missing := [name for name in manifest.members if name not in names]:
            raise ValueError(f"it has no {missing[0]}")
        for name in names:
            if name not in manifest.members:
                raise ValueError(f"its manifest does not name {name!r}")
            content, member = file.read(name), manifest.members[name]
            if len(content) != member.bytes or hashlib.sha256(content).hexdigest() != member.sha256:
                raise ValueError(f"the digest of {name} is wrong")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _check_members(infos: list[zipfile.ZipInfo], file_bytes: int) -> None:
    """Refuse members that a run file never has, before any is read."""
    names = [info.filename for info in infos]
    if len(set(names)) != len(names) or len(names) > MOST_MEMBERS:
        raise ValueError("it has members of equal names, or too many")
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.filename != MANIFEST and not _NAME.fullmatch(info.filename):
            raise ValueError(f"it has a member {info.filename!r}, which no run has")
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"its member {info.filename} is a link or another special file")
        if info.flag_bits & ENCRYPTED:
            raise ValueError(f"its member {info.filename} is encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"its member {info.filename} is compressed, which run files never are")
        if info.filename == MANIFEST and info.file_size > MOST_MANIFEST_BYTES:
            raise ValueError(f"its {MANIFEST} is too large")
    if sum(info.file_size for info in infos) > file_bytes:
        raise ValueError("its members are larger than the file")
