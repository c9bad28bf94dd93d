"""The verb that needs both stages at once, with its arguments; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

INTERRUPTED = 130  # as in shells: 128 plus the number of SIGINT
PATIENCE_SECONDS = 60.0


def add_watch(verbs: argparse._SubParsersAction) -> None:
    """Add `clipseq watch` to the parser's sub-commands."""
    parser = verbs.add_parser(
        "watch",
        help="labels of a camera, stream or file, as they are decided",
        description="Label every sampled frame as it comes, with a run trained with --task many-to-many --causal. The "
        "labels of a file are those of predict. If a camera or stream is faster than this machine, the oldest waiting "
        "frames are dropped and counted; if it is interrupted, it is opened again, and the model begins anew. A label "
        "is late by what embedding and the run's --lag take. Ctrl-C ends it.",
        epilog="examples:\n"
        "  clipseq watch runs/live recording.mp4\n"
        "  clipseq watch runs/live rtsp://camera.local/stream --json\n"
        "  clipseq watch runs/live 0                                    (the first camera)\n"
        '  clipseq watch runs/live "video=USB Camera" --format dshow    (a camera on Windows)\n',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run_directory", type=Path, metavar="RUN", help="a directory that clipseq train wrote, or a .clipseq file of it"
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a file, an address such as udp://127.0.0.1:5000, or the number of a camera"
    )
    parser.add_argument(
        "--format", default="", metavar="NAME", help="FFmpeg's name of the input format, if SOURCE is another device"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_SECONDS,
        metavar="SECONDS",
        help=f"how long to try again when a camera or stream does not come, or is interrupted ({PATIENCE_SECONDS:g})",
    )
    parser.add_argument("--draw", action="store_true", help="also show the pictures with their labels in a window")
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="the weights file of a backbone that was extracted with one; repeat for each such backbone",
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for every label and interruption")


def run_watch(arguments: argparse.Namespace, *, say: Callable[[str], None], note: Callable[[str], None]) -> int:
    """`clipseq watch`: a line for every label; ends with the source, or with Ctrl-C.

    Args:
        arguments: Of the verb.
        say: Called with what is for standard output, a line at a time.
        note: Called with what is for standard error.
    """
    from sequence_models.runs.run import read_run
    from sequence_models.runs.run_file import run_folder

    how = {"format": arguments.format, "weights": arguments.weights, "patience_seconds": arguments.patience}
    with run_folder(arguments.run_directory) as folder:
        run = read_run(folder)  # a wrong path is said before anything is loaded
        from clipseq.live_labels import LiveLabel, Tally, tally_text
        from clipseq.watching import Watch

        watch = Watch(run, arguments.source, **how)
    window, tally, code = None, Tally(), 0
    if arguments.draw:
        from clipseq.watch_window import LabelWindow

        window = LabelWindow(arguments.source)
    try:
        with watch:
            for item in watch:
                if isinstance(item, LiveLabel):
                    tally.add(item)
                    say(json.dumps({"event": "label", **item.record()}) if arguments.json else item.line())
                    if window is not None and not window.show(item):
                        break
                elif arguments.json:
                    say(json.dumps({"event": "interrupted", "reason": item.reason}))
                else:
                    note(f"{arguments.source}: {item.reason}; trying again")
    except KeyboardInterrupt:  # the usual way to end it
        code = INTERRUPTED
    finally:
        record = tally.record(dropped=watch.reader.dropped, damaged=watch.reader.damaged)
        if arguments.json:
            say(json.dumps({"event": "end", **record}))
        else:
            note(tally_text(record))
    return code
