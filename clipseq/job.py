"""Does what a job file says, and only what is stale: a step is done again if what it is made from has changed.

Stores and runs know what they were made from. What they cannot know is kept in job.json in the run directory: from
which models its metrics, its report and each file of predictions were made.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import extract.cli
import sequence_models.cli
from clipseq.job_file import Job, Step
from extract.arguments import extract_settings
from extract.errors import RunError
from extract.jobs.batch import extraction_work
from extract.store.import_settings import ImportSettings
from extract.store.numpy_files import import_work
from extract.store.reader import open_store
from extract.store.recipe import is_store
from extract.system.files import read_regular, writing
from extract.text import counted
from extract.videos.listing import search_videos
from extract.videos.sources import source_of
from sequence_models.arguments import add_evaluate, add_report, compare_arguments, train_arguments
from sequence_models.experiments.prepare import plan_run
from sequence_models.experiments.verbs import settings_of_comparison
from sequence_models.runs.files import read_record, write_record
from sequence_models.runs.results import read_fit
from sequence_models.runs.run import RUN_NAME, Run, read_run, run_differences, run_digest

STATE = "job.json"
Predict = Callable[[Namespace], int]
FIRST = "what it is made from is done first"  # the reason in a dry run


@dataclass(frozen=True)
class Planned:
    """A step as it is planned.

    Args:
        name: Verb and file.
        why: Why it is stale; "" = it is up to date.
        do: Does it; the exit code.
        waits: Whether it is made from what steps before it make.
    """

    name: str
    why: Callable[[], str]
    do: Callable[[], int]
    waits: bool = True


def run_job(job: Job, *, say: Callable[[str], None], predict: Predict, dry_run: bool = False) -> int:
    """Do the steps of a job that are stale, in order; relative paths are relative to the working folder.

    Args:
        job: From `read_job`.
        say: Called with a line for every step: what is done and why, or that it is up to date.
        predict: Does `clipseq predict`.
        dry_run: Do nothing.

    Returns:
        The exit code: 1 if a video could not be embedded.
    """
    code, stale = 0, False
    for step in _steps(job, say, predict):
        why = FIRST if dry_run and stale and step.waits else step.why()
        if not why:
            say(f"{step.name}: up to date")
            continue
        say(f"{step.name}: {'would be done' if dry_run else 'done now'}, {why}")
        stale = True
        if not dry_run:
            code = max(code, step.do())
    return code


def _steps(job: Job, say: Callable[[str], None], predict: Predict) -> Iterator[Planned]:
    for step in job.sources:
        verb = extract.cli.run_extract if step.verb == "extract" else extract.cli.run_import
        name = f"{step.verb} {step.arguments.output}"
        yield Planned(name, partial(_why_source, step), partial(verb, step.arguments), waits=False)
    if job.experiment is None:
        for step in job.predictions:
            yield _planned_prediction(step, predict, say)
        return
    path, wanted = job.experiment.arguments.run_directory, _Wanted(job.experiment, say)
    if job.experiment.verb == "compare":
        yield Planned(f"compare {path}", wanted.why_compare, wanted.compare)
    else:
        yield Planned(f"train {path}", wanted.why_train, wanted.train)
        memory = job.experiment.arguments.memory
        yield Planned(f"evaluate {path}", partial(_why_evaluate, path), partial(_evaluate, path, memory))
    for step in job.predictions:
        yield _planned_prediction(step, predict, say)
    yield Planned(f"report {path / 'report.html'}", partial(_why_report, path), partial(_report, path))


def _planned_prediction(step: Step, predict: Predict, say: Callable[[str], None]) -> Planned:
    do = partial(_predict, step, predict, say)
    return Planned(f"predict {step.arguments.output}", partial(_why_predict, step), do)


def _why_source(step: Step) -> str:
    """The clips that would be embedded or imported, and why."""
    arguments = step.arguments
    if step.verb == "extract":
        work = extraction_work(arguments.videos, extract_settings(arguments))
    else:
        names = ("fps", "key", "transpose", "nan")
        settings = ImportSettings(**{name: getattr(arguments, name) for name in names})
        work = import_work(arguments.folder, arguments.output, settings)
    shown = [f"{clip_id} ({reason})" for clip_id, reason in work[:3]]
    more = f" and {len(work) - 3} more" if len(work) > 3 else ""
    return f"{counted(work, 'clip')} to do: {', '.join(shown)}{more}" if work else ""


class _Wanted:
    """The experiment that a job file describes, beside the one that is there."""

    def __init__(self, step: Step, say: Callable[[str], None]) -> None:
        self._step, self._path, self._say = step, step.arguments.run_directory, say
        self._planned: Run | None = None

    def why_train(self) -> str:
        """Why there is something to train."""
        reason = self._why_other()
        if reason or not (self._path / RUN_NAME).exists():
            return reason or f"{self._path} is not there"
        planned = self._plan()
        fits = [fit for fit in planned.all_fits if not planned.fit_path(*fit).exists()]
        return f"{counted(fits, 'fit')} to do" if fits else ""

    def why_compare(self) -> str:
        """Why there is something to compare."""
        reason = self._why_other()
        if reason or not (self._path / "metrics.json").exists():
            return reason or f"{self._path} is not there, or not finished"
        return "" if _noted(self._path, "compare") == self._digest() else "its models, settings or data have changed"

    def train(self) -> int:
        """Train, after moving a run of other settings or data out of the way."""
        self._make_room()
        return sequence_models.cli.run_train(self._step.arguments, in_job=True)

    def compare(self) -> int:
        """Compare, likewise."""
        self._make_room()
        code = sequence_models.cli.run_compare(self._step.arguments, in_job=True)
        return code or _note(self._path, "compare", self._digest())

    def _plan(self) -> Run:
        if self._planned is None:
            arguments = self._step.arguments
            is_comparison = self._step.verb == "compare"
            told = compare_arguments(arguments) if is_comparison else train_arguments(arguments)
            if is_comparison:
                frames = told["frame_stores"]
                told["settings"] = settings_of_comparison(told["stores"], told["given"], frame_stores=frames)
                told["inner"] = 1 if frames and told["inner"] is None else told["inner"]
            names = ("stores", "labels", "settings", "run", "cv", "split_file", "seeds", "inner", "data", "memory")
            self._planned, _ = plan_run(**{name: told[name] for name in names})
        return self._planned

    def _why_other(self) -> str:
        """In what the run that is there differs, so that it cannot be continued."""
        if not (self._path / RUN_NAME).exists():
            return ""
        differing = run_differences(read_run(self._path), self._plan())
        return "; ".join(differing)

    def _make_room(self) -> None:
        if not self._why_other():
            return
        _keep_aside(self._path, self._say)

    def _digest(self) -> str:
        given = {
            name: str(value)
            for name, value in vars(self._step.arguments).items()
            if name not in ("jobs", "memory", "ray")
        }
        return _digest_of([run_digest(self._plan()), given])


def _keep_aside(path: Path, say: Callable[[str], None]) -> None:
    """Rename what is there, so that nothing is lost."""
    old = path.with_name(f"{path.stem}.until-{datetime.now():%Y%m%d-%H%M%S}{path.suffix}")
    with writing(old):
        os.rename(path, old)
    say(f"the old {path} is kept as {old}")


def _kept_aside(path: Path) -> list[Path]:
    """What `_keep_aside` made of earlier versions."""
    return sorted(path.parent.glob(f"{glob.escape(path.stem)}.until-*{glob.escape(path.suffix)}"))


def _evaluate(path: Path, memory: float | None) -> int:
    arguments = add_evaluate(ArgumentParser().add_subparsers()).parse_args([str(path)])
    arguments.memory = memory
    return sequence_models.cli.run_evaluate(arguments, in_job=True) or _note(path, "evaluate", _models_digest(path))


def _report(path: Path) -> int:
    arguments = add_report(ArgumentParser().add_subparsers()).parse_args([str(path)])
    return sequence_models.cli.run_report(arguments) or _note(path, "report", _metrics_digest(path))


def _why_evaluate(path: Path) -> str:
    if not (path / "metrics.json").exists():
        return "it was never done"
    return "" if _noted(path, "evaluate") == _models_digest(path) else "the models are not those that were evaluated"


def _why_report(path: Path) -> str:
    if not (path / "report.html").exists():
        return "it is not there"
    return "" if _noted(path, "report") == _metrics_digest(path) else "the scores are not those in it"


def _why_predict(step: Step) -> str:
    arguments = step.arguments
    if not arguments.output.exists():
        return f"{arguments.output} is not there"
    is_current = _noted(arguments.run_directory, f"predict {arguments.output}") == _inputs_digest(arguments)
    return "" if is_current else "the models, or what is predicted, have changed"


def _predict(step: Step, predict: Predict, say: Callable[[str], None]) -> int:
    """Predictions with failed videos are not noted, so that the next run tries again."""
    arguments = step.arguments
    inputs = _inputs_digest(arguments)
    runs = (arguments.run_directory, *_kept_aside(arguments.run_directory))
    is_ours = any(_noted(run, f"predict {arguments.output}") for run in runs)
    if arguments.to and arguments.output.exists() and is_ours:  # labels for tools are never overwritten
        _keep_aside(arguments.output, say)
    return predict(arguments) or _note(arguments.run_directory, f"predict {arguments.output}", inputs)


def _models_digest(path: Path) -> str:
    run = read_run(path)
    fits = [(fold, seed, read_fit(run, fold, seed)["weights_digest"]) for fold, seed in run.all_fits]
    return _digest_of([run.run_id, fits])


def _metrics_digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_regular(path / "metrics.json")).hexdigest()
    except OSError as error:
        raise RunError(f"{path / 'metrics.json'} cannot be read ({error.strerror}); evaluate the run first") from None


def _inputs_digest(arguments: Namespace) -> str:
    """Of the models, and of what they predict, by size and time of videos or the last write to a store, and how."""
    if all(map(is_store, arguments.target)):
        stores = [open_store(target) for target in arguments.target]
        seen: Sequence[Any] = [(store.fingerprint, len(store), store.latest_ns()) for store in stores]
    else:
        items, _ = search_videos(arguments.target[0])
        sources = [(item.clip_id, source_of(item, with_digest=False)) for item in items]
        seen = [(clip_id, source.size, source.mtime_ns, *filter(None, [source.digest])) for clip_id, source in sources]
    how = [list(map(str, arguments.weights)), arguments.every_frame]
    return _digest_of([_models_digest(arguments.run_directory), how, seen])


def _digest_of(record: Any) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _noted(path: Path, name: str) -> str | None:
    return _state_of(path).get(name)


def _note(path: Path, name: str, digest: str) -> int:
    """Keep from what a step was made; 0, the exit code."""
    write_record(path / STATE, _state_of(path) | {name: digest}, run_id=read_run(path).run_id)
    return 0


def _state_of(path: Path) -> dict[str, str]:
    if not (path / STATE).exists():
        return {}
    again = "delete it; the job is then evaluated, predicted and reported again"
    return read_record(path / STATE, again=again, run_id=read_run(path).run_id)
