"""Recognises what annotation tools write, so that an error can name the tool and the way from there."""

from __future__ import annotations

import re

INTERVALS = "clip_id,start_seconds,end_seconds,label"
FRAMES = "clip_id,start_frame,end_frame,label"
_BEGINNINGS = (  # how a file begins, what it is, how its labels come here
    (r"[\s\S]*<ANNOTATION_DOCUMENT", "an ELAN file", f"export its tiers as text and write them as {INTERVALS}"),
    (r"\s*\{[\s\S]*\"project_format_version\"", "a BORIS project", "export its aggregated events as CSV"),
    (r"[\s\S]*ooTextFile", "a Praat TextGrid", f"write its intervals as {INTERVALS}"),
    (
        r"# ?(Exported using VGG|CSV_HEADER|SHAPE_ID|FLAG_ID)",
        "a file of the VGG Image Annotator",
        f"write its segments as {INTERVALS}",
    ),
    (r"\s*(<\?xml[^>]*>)?\s*<annotations>", "a file of CVAT", f"write its tracks as {FRAMES}"),
    (r"\s*\[?\s*\{[\s\S]*\"timelinelabels\"", "an export of Label Studio", f"write its ranges as {INTERVALS}"),
    (r"\s*[\[{]\s*[\[{\"]", "JSON", f"write its labels as CSV: {INTERVALS}"),
    (
        r"(Bento a|Caltech Behavior A)nnotat",
        "a file of Bento or MARS",
        f"write its rows as {FRAMES}, and give --labels-from 1 and --labels-end inclusive",
    ),
    (
        r"scorer,[^\n]*\n(individuals,[^\n]*\n)?bodyparts,",
        "a file of key points of DeepLabCut",
        "key points are features: save them as .npy and take them in with clipseq import-features",
    ),
    (r"\d+\.\d+\t\d+\.\d+\t", "an Audacity label track", f"write its rows as {INTERVALS}"),
)
_COLUMNS = (  # what only this tool calls its columns, what it is, how its labels come here
    (
        {"behavior", "start (s)", "stop (s)"},
        "a table of aggregated events of BORIS",
        f"write its media file, Start (s), Stop (s) and Behavior as {INTERVALS}",
    ),
    ({"behavior", "behavior type", "time"}, "a table of events of BORIS", "export its aggregated events instead"),
    ({"behavior", "time", "status"}, "a table of events of BORIS", "export its aggregated events instead"),
    ({"", "background"}, "a label file of DeepEthogram", f"write each run of equal rows of a class as {FRAMES}"),
    (
        {"narration_id", "start_timestamp"},
        "a list of EPIC-KITCHENS",
        f"write video_id, the two timestamps in seconds and verb as {INTERVALS}",
    ),
)


def tool_hint(text: str) -> str:
    """What a label file is that is not one of ours.

    Args:
        text: Of the file.

    Returns:
        Such as "an ELAN file; export its tiers ..."; "" where it is of no known tool.
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
