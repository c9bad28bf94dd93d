"""The entry point (console script: clipseq): the verbs of both stages; errors become one line and an exit code."""

from __future__ import annotations

try:
    import argparse
    import contextlib
    import functools
    import itertools
    import logging
    import os
    import signal
    import sys
    import threading
    from collections.abc import Sequence
    from contextlib import nullcontext, redirect_stdout
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from typing import TYPE_CHECKING, Any

    import clipseq.verbs  # first: clipseq says which file in the user's folder hides one of our packages
    import extract.cli
    import sequence_models.cli
    from extract import __version__
    from extract.command_line import Parser
    from extract.errors import ClipseqError, UsageError
    from extract.system.files import reason_of
    from extract.system.terminal import plain_output
except KeyboardInterrupt:  # Ctrl-C while Python starts
    raise SystemExit(130) from None
except ImportError as error:
    if error.name in ("extract", "sequence_models"):  # hidden
        raise SystemExit(f"clipseq: {error}") from None
    raise

if TYPE_CHECKING:
    from extract.jobs.settings import ExtractSettings
    from extract.preview.rows import WindowCut
    from extract.preview.sheet import PictureChange
    from sequence_models.settings import TrainSettings

DESCRIPTION = """\
Learn from videos in two stages: embed every sampled frame once with a frozen pretrained
backbone, then train sequence models on the cached embeddings in seconds.
"""
EPILOG = """\
start here:
  clipseq demo                                   the whole job on a small bundled example
  clipseq extract videos/ --output features/     stage one, on your videos
  clipseq train features/ --task many-to-one --run runs/first
  clipseq evaluate runs/first && clipseq report runs/first

clipseq VERB --help explains a verb. Exit codes: 0 all done, 1 something failed, 2 the command is wrong.
"""


TERMINATED = 143  # as in shells: 128 plus the number of SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The command line without the program name; None uses the process's own.

    Returns:
        The exit code: 0 all done, 1 something failed or is wrong, 2 usage, 130 and 143 when interrupted or terminated.
    """
    with plain_output():
        given = sys.argv[1:] if argv is None else list(argv)
        if not given:
            make_parser().print_help(sys.stderr)
            return 2
        if given[0].endswith(".toml"):
            given = ["run", *given]
        arguments, unknown = make_parser().parse_known_args(given)
        if unknown:
            arguments.parser.error(arguments.parser.unknown_text(unknown))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
        for name in ("extract", "sequence_models"):
            logging.getLogger(name).setLevel(logging.INFO if arguments.verbose else logging.WARNING)
        with _Signals() as signals:
            code = _run(arguments)
        return signals.code or code


def _run(arguments: argparse.Namespace) -> int:
    try:
        _check_opencv()
        return arguments.run(arguments)
    except ClipseqError as error:
        print(f"clipseq {arguments.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"clipseq {arguments.verb}: interrupted; run the same command again to continue", file=sys.stderr)
        return clipseq.verbs.INTERRUPTED
    except SystemExit as stop:
        if stop.code != TERMINATED:
            raise
        print(f"clipseq {arguments.verb}: terminated; run the same command again to continue", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, such as head, has exited
        return 0
    except OSError as error:
        if arguments.verbose:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"clipseq {arguments.verb}: {where}{reason_of(error)} (clipseq -v shows where)", file=sys.stderr)
        return 1


class _Signals:
    """Stops the work at SIGINT and SIGTERM, and records them: code that swallows the exception cannot hide a signal."""

    def __init__(self) -> None:
        self.code = 0  # exit code: 130, 143, or 0 if no signal came

    def __enter__(self) -> _Signals:
        is_main = threading.current_thread() is threading.main_thread()  # only it may handle signals
        self._before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if is_main}
        if not is_main:
            return self
        signal.signal(signal.SIGTERM, self._stop)
        if self._before[signal.SIGINT] is signal.default_int_handler:  # a background job ignores Ctrl-C
            signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        self.code = 128 + number
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(self.code)


def run_demo(arguments: argparse.Namespace) -> int:
    """`clipseq demo`: the whole job on a rendered example, with real weights."""
    from clipseq.demo import run_demo

    return run_demo(arguments.output, say=functools.partial(print, flush=True), predict=run_predict)


def run_show(arguments: argparse.Namespace) -> int:
    """`clipseq show`: with --augment frames as raw-frame training sees them, with --window its windows."""
    from sequence_models.catalogue import FRAME_VARIATIONS, RAW_MODEL_NAMES
    from sequence_models.settings import TrainSettings

    amounts = {name: getattr(arguments, name) for name in FRAME_VARIATIONS}
    if arguments.augment is not None and not any(amounts.values()):
        raise UsageError(f"--augment needs at least one of --{', --'.join(FRAME_VARIATIONS)}")
    settings = TrainSettings(  # raises the same errors as training
        model=RAW_MODEL_NAMES[0], window=arguments.window, hop=arguments.hop, **amounts
    )
    changes = [_augmentation(amounts, arguments.augment or 0)] if any(amounts.values()) else []
    return extract.cli.run_show(arguments, changes, _window_cut(settings) if settings.window else None)


def _augmentation(amounts: dict[str, Any], seed: int) -> PictureChange:
    """What one epoch of raw-frame training does to frames; drawn afresh at every call."""
    import numpy as np

    from extract.preview.sheet import PictureChange
    from extract.system.quiet_start import import_keras_quietly
    from sequence_models.clips.augmentation import FrameAugmentation, augment_frames

    seeds, how = itertools.count(seed), FrameAugmentation(**amounts)

    def augmented(frames: np.ndarray) -> np.ndarray:
        import_keras_quietly()
        return np.rint(augment_frames(frames, how, next(seeds))).astype(np.uint8)

    said = ", ".join(f"{name} {value:g}" if name != "flip" else name for name, value in amounts.items() if value)
    return PictureChange(augmented, f"augmented: {said}")


def _window_cut(settings: TrainSettings) -> WindowCut:
    """The windows used in prediction."""
    from extract.preview.rows import WindowCut
    from sequence_models.clips.windows import window_spans

    fact = f"windows of {settings.window:g} s every {settings.hop_seconds:g} s"
    return WindowCut(functools.partial(window_spans, settings=settings), fact)


def run_predict(arguments: argparse.Namespace) -> int:
    """`clipseq predict`: from a store, or directly from videos with the recipe stored in the run."""
    from extract.store.recipe import is_store
    from sequence_models.runs.run_file import run_folder

    if is_store(arguments.run_directory) and any((Path(target) / "run.json").exists() for target in arguments.target):
        words = (arguments.target[0], arguments.run_directory, "--output", arguments.output or "FILE.csv")
        raise UsageError(f"the run must come first: clipseq predict {' '.join(map(str, words))}")
    with run_folder(arguments.run_directory) as arguments.run_directory:
        sequence_models.cli.check_predictions(arguments)
        return _predict(arguments)


def _predict(arguments: argparse.Namespace) -> int:
    from clipseq.prediction import stores_to_predict
    from extract.cli import extract_with_bar
    from extract.store.recipe import is_store
    from extract.videos.listing import search_videos
    from sequence_models.runs.run import read_run

    failed = 0

    def embed(videos: str | Path, settings: ExtractSettings) -> None:
        nonlocal failed
        with redirect_stdout(sys.stderr) if arguments.json else nullcontext():
            failed += extract_with_bar(videos, settings, is_kept=bool(arguments.features)).num_failed

    run = read_run(arguments.run_directory)
    if arguments.annotate and not is_store(arguments.target[0]):
        items, _ = search_videos(arguments.target[0])  # before they are embedded in vain
        if len(items) > 1:
            raise UsageError(f"--annotate writes one video, but {len(items):,} are given; give a single one")
    how = {"features": arguments.features, "weights": arguments.weights, "embed": embed}
    with stores_to_predict(run, arguments.target, **how) as stores:
        code = sequence_models.cli.predict_from_stores(arguments, stores)
    return code or (1 if failed else 0)


def run_watch(arguments: argparse.Namespace) -> int:
    """`clipseq watch`: labels of a camera, stream or file, as they are decided."""
    say, note = functools.partial(print, flush=True), functools.partial(print, file=sys.stderr, flush=True)
    return clipseq.verbs.run_watch(arguments, say=say, note=note)


def run_job(arguments: argparse.Namespace) -> int:
    """`clipseq run`: does what is stale in a job file; with --from writes the file that repeats a run."""
    from clipseq.job import run_job
    from clipseq.job_file import read_job
    from clipseq.job_from_run import write_job

    if arguments.from_run is not None:
        for path in write_job(arguments.from_run, arguments.job):
            print(f"wrote {path}")
        return 0
    job = read_job(arguments.job)
    with contextlib.chdir(job.path.parent):
        return run_job(job, say=functools.partial(print, flush=True), predict=run_predict, dry_run=arguments.dry_run)


def make_parser() -> argparse.ArgumentParser:
    """The command line: all verbs with their flags and help."""
    parser = Parser(
        prog="clipseq", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"clipseq {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log decisions along the way")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    demo = verbs.add_parser(
        "demo",
        help="the whole job on a small bundled example; ends with the path of its report",
        description="Render a small labelled video data set from two photographs, extract it with real pretrained "
        "weights, train on clips and on frames, evaluate on unseen groups, and report. Nothing is downloaded.",
    )
    demo.add_argument("--output", type=Path, default=Path("data/demo"), metavar="DIR", help="where to save (data/demo)")
    demo.set_defaults(run=run_demo)
    extract.cli.add_verbs(verbs)
    sequence_models.cli.add_verbs(verbs)
    _add_training_view(verbs.choices["show"])
    clipseq.verbs.add_watch(verbs)
    _add_job(verbs)
    for verb in verbs.choices.values():
        verb.set_defaults(parser=verb)
    verbs.choices["show"].set_defaults(run=run_show)
    verbs.choices["predict"].set_defaults(run=run_predict)
    verbs.choices["watch"].set_defaults(run=run_watch)
    return parser


def _add_job(verbs: argparse._SubParsersAction) -> None:
    job = verbs.add_parser(
        "run",
        help="a whole job from a file: extract or import, train or compare, evaluate, predict, report",
        description="Do what a job file says, and only what is stale: what is made from data or settings that have not "
        "changed is left alone. Its sections are verbs, its keys their flags without the leading dashes; relative "
        "paths start at its folder. clipseq JOB.toml is short for it.",
        epilog="example:\n"
        "  [extract]\n"
        '  videos = "videos"\n'
        '  output = "features"\n\n'
        "  [train]\n"
        '  labels = "labels.csv"\n'
        '  task = "many-to-one"\n'
        '  run = "runs/first"\n\n'
        "  [predict]\n"
        '  target = "new_videos"\n'
        '  output = "predictions.csv"\n',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    job.add_argument("job", type=Path, metavar="JOB.toml", help="the file; with --from, the file to write")
    job.add_argument("--dry-run", action="store_true", help="only say what would be done, and why")
    job.add_argument("--from", dest="from_run", type=Path, metavar="RUN", help="write the file that repeats this run")
    job.set_defaults(run=run_job)


def _add_training_view(show: argparse.ArgumentParser) -> None:
    """Flags of `clipseq train` that change what a model sees; here, because stage one knows nothing about training."""
    from extract.options import add_options
    from sequence_models.catalogue import FRAME_VARIATIONS
    from sequence_models.settings import TrainSettings

    about = (
        "One row each, as in prediction; of a long clip only evenly spaced ones, including the first and last, and\n"
        "the sheet says how many are left out. Training shifts them by part of a hop in every epoch."
    )
    add_options(show.add_argument_group("windows", about), TrainSettings, ("window", "hop"))
    group = show.add_argument_group("augmentation (for a store of frames, or for videos with --backbone pixels)")
    group.add_argument(
        "--augment",
        type=int,
        nargs="?",
        const=0,
        metavar="SEED",
        help="draw with this seed, each row separately (0)",
    )
    add_options(group, TrainSettings, FRAME_VARIATIONS)


def _check_opencv() -> None:
    """Both OpenCV wheels write to the same cv2 folder; installing both leaves a mixture, which may or may not work.

    Raises:
        UsageError: It does not work.
    """
    both = [name for name in ("opencv-python", "opencv-python-headless") if _is_installed(name)]
    if len(both) < 2:
        return
    said = (
        "opencv-python and opencv-python-headless are both installed and overwrite each other's files{}. "
        "Repair: pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
    )
    if reason := _opencv_fault():
        raise UsageError(said.format(f", and the result does not work ({reason})"))
    logging.getLogger("extract").warning("%s", said.format(""))


def _opencv_fault() -> str:
    """What goes wrong when OpenCV encodes, decodes and scales a small picture; "" if nothing does."""
    try:
        import cv2
        import numpy as np

        picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
        decoded = cv2.imdecode(cv2.imencode(".png", picture)[1], cv2.IMREAD_COLOR)
        if decoded is None or not np.array_equal(decoded, picture) or cv2.resize(decoded, (4, 4)).shape != (4, 4, 3):
            return "a picture changes when saved and loaded"
    except Exception as error:
        return reason_of(error)
    return ""


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
