"""Recognises files of annotation tools, so that an error can name the tool and how to convert its file."""

from __future__ import annotations

import re

INTERVALS = "clip_id,start_seconds,end_seconds,label"
FRAMES = "clip_id,start_frame,end_frame,label"
_BEGINNINGS = (  # how a file begins, what it is, how to convert its labels
    (r"[\s\S]*<ANNOTATION_DOCUMENT", "an ELAN file", f"export its tiers as text and write them as {INTERVALS}"),
    (r"\s*\{[\s\S]*\"project_format_version\"", "a BORIS project", "export its aggregated events as CSV"),
    (r"[\s\S]*ooTextFile", "a Praat TextGrid", f"write its intervals as {INTERVALS}"),
    (
        r"# ?(Exported using VGG|CSV_HEADER|SHAPE_ID|FLAG_ID)",
        "a VGG Image Annotator file",
        f"write its segments as {INTERVALS}",
    ),
    (r"\s*(<\?xml[^>]*>)?\s*<annotations>", "a CVAT file", f"write its tracks as {FRAMES}"),
    (r"\s*\[?\s*\{[\s\S]*\"timelinelabels\"", "a Label Studio export", f"write its ranges as {INTERVALS}"),
    (r"\s*[\[{]\s*[\[{\"]", "JSON", f"write its labels as CSV: {INTERVALS}"),
    (
        r"(Bento a|Caltech Behavior A)nnotat",
        "a Bento or MARS file",
        f"write its rows as {FRAMES}, and give --labels-from 1 and --labels-end inclusive",
    ),
    (
        r"scorer,[^\n]*\n(individuals,[^\n]*\n)?bodyparts,",
        "a DeepLabCut key point file",
        "key points are features: save them as .npy and import them with clipseq import-features",
    ),
    (r"\d+\.\d+\t\d+\.\d+\t", "an Audacity label track", f"write its rows as {INTERVALS}"),
)
_COLUMNS = (  # column names that only this tool uses, what it is, how to convert its labels
    (
        {"behavior", "start (s)", "stop (s)"},
        "a BORIS table of aggregated events",
        f"write its media file, Start (s), Stop (s) and Behavior as {INTERVALS}",
    ),
    ({"behavior", "behavior type", "time"}, "a BORIS table of events", "export its aggregated events instead"),
    ({"behavior", "time", "status"}, "a BORIS table of events", "export its aggregated events instead"),
    ({"", "background"}, "a DeepEthogram label file", f"write each run of equal rows of a class as {FRAMES}"),
    (
        {"narration_id", "start_timestamp"},
        "an EPIC-KITCHENS list",
        f"write video_id, the two timestamps in seconds and verb as {INTERVALS}",
    ),
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
