"""Scores per-frame label files from any tool under both protocols of the literature.

A folder holds one text file per video, or one sub-folder of them per split, as MS-TCN's groundTruth/ and results/ do.
Files are never cut or padded to match: a frame without a counterpart has no score.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import LabelError, UsageError
from extract.system.files import read_text, reason_of
from extract.text import counted
from sequence_models.labels.clip_names import quoted
from sequence_models.labels.formats.frame_texts import Files, find_label_files, read_frame_labels, video_name
from sequence_models.scoring.confidence import ratio_score
from sequence_models.scoring.metrics import confusion_matrix
from sequence_models.scoring.segments import OVERLAPS, edit_score, f1_counts, segments

_COLUMNS = ("accuracy", "edit", *(f"f1@{percent}" for percent in OVERLAPS))


@dataclass(frozen=True)
class LabelledVideo:
    """One video with the labels of both sides.

    Args:
        name: File name without .txt.
        split: Name of its split, "" if there are none.
        truth, predicted: T labels each.
    """

    name: str
    split: str
    truth: Sequence[str]
    predicted: Sequence[str]


def score_files(
    predictions: Path,
    truth: Path,
    *,
    background: Sequence[str] = (),
    splits: Path | None = None,
    missing: str = "error",
) -> dict[str, Any]:
    """Scores a folder of predictions against a folder of true labels.

    Args:
        predictions, truth: Folders of text files, or of one sub-folder per split; videos are matched by name.
        background: Classes that are not segments; accuracy counts them.
        splits: CSV with the columns video and split, if there are no sub-folders; also decides what is scored.
        missing: "error", or "skip" to leave out files without a partner.

    Returns:
        "per_video" (mean over all videos) and "per_split" (pooled over the videos of a split, mean over splits), each
        with "accuracy", "edit", "f1@10", "f1@25", "f1@50", and "macro_f1": {"value", "protocol", "ci95"}, 0 to 100,
        intervals over videos. Also what was scored: "videos", "frames", "splits", "vocabulary", "background", "notes".

    Raises:
        LabelError: A file is missing, unreadable, empty or differs in length from its counterpart.
        UsageError: The splits are given twice, or a folder is not a folder.
    """
    videos, notes = read_videos(predictions, truth, splits=splits, missing=missing)
    vocabulary = sorted({label for video in videos for label in (*video.truth, *video.predicted)})
    notes += _check_names(videos, background=background, predictions=predictions, truth=truth)
    return {
        "predictions": str(predictions),
        "truth": str(truth),
        "videos": len(videos),
        "frames": sum(len(video.truth) for video in videos),
        "splits": sorted({video.split for video in videos} - {""}),
        "vocabulary": vocabulary,
        "background": list(background),
        "notes": notes,
        **score_videos(videos, vocabulary, background=background),
    }


def score_videos(
    videos: Sequence[LabelledVideo], vocabulary: Sequence[str], *, background: Sequence[str] = ()
) -> dict[str, Any]:
    """Scores videos under both protocols.

    Args:
        videos: At least one, of at least one frame each.
        vocabulary: Every label that occurs.
        background: Classes that are not segments.

    Returns:
        "per_video", "per_split" and "macro_f1" as in `score_files`.
    """
    index = {name: number for number, name in enumerate(vocabulary)}
    none = [index[name] for name in background]
    labels = [[np.array([index[x] for x in side]) for side in (video.truth, video.predicted)] for video in videos]
    counts = np.array([_counts(*pair, background=none) for pair in labels])  # (n, 5, 2)
    names = sorted({video.split for video in videos})
    member = np.array([names.index(video.split) for video in videos])
    scores: dict[str, Any] = {"per_video": {}, "per_split": {}}
    for column, name in enumerate(_COLUMNS):
        scores["per_video"][name] = _per_video(counts[:, column], title=_title(name))
        scores["per_split"][name] = _per_split(counts[:, column], member, title=_title(name))
    return scores | {"macro_f1": _macro_f1(labels, len(vocabulary))}


def read_videos(
    predictions: Path, truth: Path, *, splits: Path | None, missing: str
) -> tuple[list[LabelledVideo], list[str]]:
    """Reads the matching files of both folders.

    Args:
        predictions, truth, splits, missing: As in `score_files`.

    Returns:
        The videos, sorted by split and name; notes on what is left out, one sentence each.

    Raises:
        LabelError, UsageError: As in `score_files`.
    """
    predicted_files, true_files = find_label_files(predictions), find_label_files(truth)
    if splits is not None:
        for folder, files in ((predictions, predicted_files), (truth, true_files)):
            if "" not in files:
                raise UsageError(f"{folder} already has a sub-folder per split; leave out --splits {splits}.")
        wanted = read_splits(splits)
        known = {name for _, name in wanted}
        unlisted = sorted({name for files in (predicted_files, true_files) for name in files[""]} - known)
        notes = [f"{counted(unlisted, 'video')} not in {splits}, left out: {quoted(unlisted)}"] if unlisted else []
    else:
        wanted, notes = _everything(predicted_files, true_files), []
    pairs = {key: (_file(true_files, *key), _file(predicted_files, *key)) for key in wanted}
    for side, folder, other in ((0, truth, predictions), (1, predictions, truth)):
        lacking = [name for (_, name), pair in pairs.items() if pair[side] is None]
        notes += _report_missing(lacking, folder=folder, other=splits or other, missing=missing)
    complete = {key: (true, predicted) for key, (true, predicted) in pairs.items() if true and predicted}
    if not complete:
        raise LabelError(f"{predictions} and {truth} have no video in common; give the folders that hold the files.")
    read = {key: [read_frame_labels(path) for path in pair] for key, pair in complete.items()}
    _refuse_other_lengths([(complete[key], sides) for key, sides in read.items()])
    return [LabelledVideo(name, split, *sides) for (split, name), sides in sorted(read.items())], notes


def read_splits(path: Path) -> list[tuple[str, str]]:
    """Reads which split each video is in.

    Args:
        path: CSV with the columns video and split; a video may be written with or without .txt.

    Returns:
        (split, video) per line.

    Raises:
        LabelError: The file cannot be read, lacks a column or a value, or names a video twice.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(
            f"{path} cannot be read ({reason_of(error)}); give a CSV with the columns video and split."
        ) from None
    found: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        video, split = ((row.get(column) or "").strip() for column in ("video", "split"))
        if not video or not split:
            raise LabelError(f"{path} line {line} needs a video and a split under the header video,split.")
        if video_name(video) in found:
            raise LabelError(f"{path} line {line}: video {video!r} is listed twice; keep one.")
        found[video_name(video)] = split
    if not found:
        raise LabelError(f"{path} names no video; write the header video,split and a line per video.")
    return [(split, video) for video, split in found.items()]


def score_text(record: Mapping[str, Any]) -> str:
    """The table that `clipseq score` prints.

    Args:
        record: From `score_files`.

    Returns:
        Lines of text, percent with two decimals.
    """
    splits = record["splits"]
    where = f"{counted(splits, 'split')} ({', '.join(splits)})" if splits else "one split"
    background = ", ".join(record["background"]) or "none named, every class is a segment"
    rows = [["", *(_title(name) for name in _COLUMNS)]]
    for title, key in (("V  per video, mean over videos", "per_video"), ("P  pooled per split, mean", "per_split")):
        rows.append([title, *(f"{record[key][name]['value']:.2f}" for name in _COLUMNS)])
    table = [f"{row[0]:<32}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    return "\n".join(
        [
            *(f"note: {note}" for note in record["notes"]),
            f"{counted(record['videos'], 'video')} in {where}, {record['frames']:,} frames, "
            f"{counted(record['vocabulary'], 'class')}",
            f"background: {background}",
            *(line.rstrip() for line in table),
            f"macro-F1 {record['macro_f1']['value']:.2f} ({record['macro_f1']['protocol'].split(';')[0]})",
        ]
    )


def _title(name: str) -> str:
    return name.replace("f1", "F1")


def _counts(truth: np.ndarray, predicted: np.ndarray, *, background: Sequence[int]) -> list[tuple[float, float]]:
    """Numerator and denominator of each column's ratio in one video."""
    pieces = segments(truth, background=background), segments(predicted, background=background)
    rows: list[tuple[float, float]] = [(np.sum(truth == predicted), len(truth)), (edit_score(*pieces) / 100, 1)]
    for percent in OVERLAPS:
        hits, false_positives, misses = f1_counts(*pieces, overlap=percent / 100)
        rows.append((2 * hits, 2 * hits + false_positives + misses))
    return rows


def _per_video(counts: np.ndarray, *, title: str) -> dict[str, Any]:
    """Protocol V: a ratio per video, 1 if there is nothing to find, and their mean."""
    ratios = np.divide(counts[:, 0], counts[:, 1], out=np.ones(len(counts)), where=counts[:, 1] > 0)
    protocol = f"{title} per video in percent, mean over {counted(counts, 'video')}, each its own group"
    return ratio_score(ratios[:, None], np.ones((len(counts), 1)), protocol=protocol, units=len(counts), scale=100.0)


def _per_split(counts: np.ndarray, member: np.ndarray, *, title: str) -> dict[str, Any]:
    """Protocol P: counts pooled over the videos of a split, and the mean over splits; `member` (n,) is the split."""
    parts, wholes = np.zeros((2, len(counts), member.max() + 1))
    parts[np.arange(len(counts)), member], wholes[np.arange(len(counts)), member] = counts.T
    nothing = wholes.sum(axis=0) == 0  # no segment in a split, and none predicted: all correct
    parts[0, nothing] = wholes[0, nothing] = 1
    how = "mean over the videos" if title == "edit" else "pooled over the videos"
    splits = counted(range(parts.shape[1]), "split")
    protocol = f"{title} in percent, {how} of a split, mean over {splits}, each video its own group"
    return ratio_score(parts, wholes, protocol=protocol, units=len(counts), scale=100.0)


def _macro_f1(labels: Sequence[Sequence[np.ndarray]], num_classes: int) -> dict[str, Any]:
    tables = np.stack([confusion_matrix(truth, predicted, num_classes) for truth, predicted in labels])
    hits = 2 * np.diagonal(tables, axis1=1, axis2=2)  # (n, K)
    involved = tables.sum(axis=1) + tables.sum(axis=2)
    protocol = (
        f"mean F1 of the {counted(num_classes, 'class')} occurring, over the pooled frames of all videos, in percent"
    )
    return ratio_score(hits, involved, protocol=protocol, units=len(labels), scale=100.0)


def _check_names(
    videos: Sequence[LabelledVideo], *, background: Sequence[str], predictions: Path, truth: Path
) -> list[str]:
    """Refuses a background or predictions whose names differ from the truth's; notes names only predictions have."""
    true = sorted({label for video in videos for label in video.truth})
    unknown = [name for name in background if name not in true]
    if unknown:
        raise LabelError(f"--background {unknown[0]!r} is not a label in {truth}; it has {', '.join(true)}.")
    predicted = {label for video in videos for label in video.predicted}
    if not predicted & set(true):
        raise LabelError(
            f"{predictions} and {truth} share no label ({quoted(sorted(predicted))} against {quoted(true)}); "
            "use the same names in both."
        )
    strange = sorted(predicted - set(true))
    return [f"{counted(strange, 'label')} predicted that {truth} never uses: {quoted(strange)}"] if strange else []


def _everything(predictions: Files, truth: Files) -> list[tuple[str, str]]:
    """(split, video) of all files; the side with sub-folders defines the splits, and files it lacks come last."""
    leading, other = (truth, predictions) if "" in predictions else (predictions, truth)
    listed = [(split, name) for split, files in leading.items() for name in files]
    names = {name for _, name in listed}
    rest = [
        (split, name)
        for split, files in other.items()
        for name in files
        if (name not in names if split == "" else (split, name) not in listed)
    ]
    return listed + rest


def _file(files: Files, split: str, name: str) -> Path | None:
    return files.get("", files.get(split, {})).get(name)


def _report_missing(names: Sequence[str], *, folder: Path, other: Path, missing: str) -> list[str]:
    if not names:
        return []
    text = f"{folder} lacks {counted(names, 'video')} of {other}: {quoted(sorted(names))}"
    if missing == "skip":
        return [f"{text}; left out"]
    raise LabelError(f"{text}; add them, or score the rest with --missing skip.")


def _refuse_other_lengths(pairs: Sequence[tuple[tuple[Path, Path], Sequence[Sequence[str]]]]) -> None:
    differing = [(paths, len(sides[0]), len(sides[1])) for paths, sides in pairs if len(sides[0]) != len(sides[1])]
    if differing:
        (truth, predicted), true_length, predicted_length = differing[0]
        rest = len(differing) - 1
        more = f", and {rest} more {'video differs' if rest == 1 else 'videos differ'}" if rest else ""
        raise LabelError(
            f"{predicted} has {predicted_length} labels but {truth} has {true_length}{more}; "
            "give exactly one prediction for every true frame."
        )
