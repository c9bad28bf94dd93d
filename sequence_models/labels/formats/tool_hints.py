"""Recognises files of annotation tools, so that an error can name the tool and how to convert its file."""

from __future__ import annotations

import re

INTERVALS = "clip_id,start_seconds,end_seconds,label"
FRAMES = "clip_id,start_frame,end_frame,label"
READ = f"give it as it is with --labels, or write it as {INTERVALS} with clipseq convert-labels"
_BEGINNINGS = (  # how a file begins, what it is, how to convert its labels
    (r"[\s\S]*<ANNOTATION_DOCUMENT", "an ELAN file", READ),
    (r"\s*\{[\s\S]*\"project_format_version\"", "a BORIS project", "export its aggregated events as CSV"),
    (
        r"[\s\S]*ooTextFile",
        "a Praat TextGrid",
        f"open it in ELAN (File > Import > Praat TextGrid File) and save it, or write its intervals as {INTERVALS}",
    ),
    (r"# ?(Exported using VGG|CSV_HEADER|SHAPE_ID|FLAG_ID)", "a VGG Image Annotator file", READ),
    (
        r"\s*(<\?xml[^>]*>)?\s*<annotations>",
        "a CVAT file",
        f"it has boxes but no intervals: write its tracks, from the first box to the one with outside=1, as {FRAMES}",
    ),
    (r"\s*\[?\s*\{[\s\S]*\"timelinelabels\"", "a Label Studio export", READ),
    (r"\s*[\[{]\s*[\[{\"]", "JSON", f"write its labels as CSV: {INTERVALS}"),
    (r"Bento annotation", "a Bento or MARS file", READ),
    (
        r"Caltech Behavior Annotat",
        "a Bento or MARS file of the old kind",
        f"write its rows as {FRAMES}, and give --labels-from 1 and --labels-end inclusive",
    ),
    (
        r"scorer,[^\n]*\n(individuals,[^\n]*\n)?bodyparts,",
        "a DeepLabCut key point file",
        "key points are features: save them as .npy and import them with clipseq import-features",
    ),
    (r"\d+\.\d+\t\d+\.\d+\t", "an Audacity label track", READ),
    (
        r",[^\n]*_x,[^\n]*_y,[^\n]*_p,",
        "a SimBA table of features and classes",
        "only project_config.ini says which columns are classes: write those as clip_id,frame and a column per class",
    ),
)
_COLUMNS = (  # column names that only this tool uses, what it is, how to convert its labels
    ({"behavior", "start (s)", "stop (s)"}, "a BORIS table of aggregated events", READ),
    ({"behavior", "behavior type", "time"}, "a BORIS table of events", READ),
    ({"behavior", "time", "status"}, "a BORIS table of events", READ),
    ({"", "background"}, "a DeepEthogram label file", READ),
    (
        {"narration_id", "start_timestamp"},
        "an EPIC-KITCHENS list",
        f"write video_id, the two timestamps in seconds and verb as {INTERVALS}",
    ),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")


def pickle_hint(content: bytes) -> str:
    """What a Python pickle is, whose reading would run code of its maker; "" for other files."""
    if not _PICKLE.match(content):
        return ""
    return (
        "is a Python pickle, such as DLC2Action writes; pickles can run code, so none is read: export the "
        f"annotation as CSV and write it as {FRAMES}"
    )


def tool_hint(text: str) -> str:
    """What a label file in a foreign format is.

    Args:
        text: Content of the file.

    Returns:
        Such as "an ELAN file; export its tiers ..."; "" if it is not from a known tool.
    """
    beginning = text[:10_000]
    if re.match(r"[^\n]*\bclip_id\b", beginning):
        return ""
    for pattern, what, how in _BEGINNINGS:
        if re.match(pattern, beginning):
            return f"is {what}; {how}"
    for line in beginning.splitlines()[:40]:
        cells = {cell.strip().strip('"').lower() for cell in re.split(r"[,\t;]", line)}
        for columns, what, how in _COLUMNS:
            if columns <= cells:
                return f"is {what}; {how}"
    return ""
