"""A report of a feature store: what was done, what is odd, how fast it went, and a map of the clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import DamagedShardError
from extract.preview.scan import odd_flags
from extract.records import VideoTruth
from extract.store.reader import Store, open_store
from extract.store.recipe import kind_of_features
from extract.system.files import write_text
from extract.system.terminal import progress_bar
from extract.text import counted, first_few, remark_lines, span_text, when_text
from sequence_models.report.cautions import Caution
from sequence_models.report.facts import plain_rows
from sequence_models.report.pictures import link_to, strip_of
from sequence_models.report.plots import PAGE, chart_svg
from sequence_models.report.render import render
from sequence_models.report.store_sample import (
    channel_facts,
    map_content,
    near_duplicates,
    read_sample,
    unmoving,
)

MOST_STRIPS = 12
MOST_PER_KIND = 2
MOST_LISTED = 50
MOST_LINES = 40
ODD_LENGTH = 10  # times longer or shorter than the median clip
BINS = 30
BOUND_SHARE = 0.1  # of the time; the backbone that waits for more is not the bottleneck
WAITS = {  # stage -> what the backbone did in that time
    "backbone": "embedding",
    "backbone_waited": "waiting for decoded frames",
    "backbone_held": "waiting for rows to be written",
}
BOTTLENECKS = {
    "backbone": "the backbone was the bottleneck: a GPU, a smaller backbone or fewer frames would help",
    "backbone_waited": "decoding was the bottleneck: more cores, more --decode-threads or a faster disk would help",
    "backbone_held": "writing was the bottleneck: a faster disk would help",
}


def write_store_report(path: Path, output: Path | None = None) -> Path:
    """Writes one HTML file about a feature store.

    Args:
        path: A store directory or a packed file.
        output: Where to; None: `report.html` inside the directory, or beside the packed file.

    Returns:
        Where it is.

    Raises:
        StoreError: It is no store, or cannot be read.
        WriteError: The report cannot be written.
    """
    output = output or (path / "report.html" if path.is_dir() else path.with_name(f"{path.stem}.report.html"))
    write_text(output, render("store.html", store_content(open_store(path))))
    return output


def store_content(store: Store) -> dict[str, Any]:
    """Prepares everything the page shows.

    Args:
        store: An open store.

    Returns:
        The variables of store.html.
    """
    summary, truths = store.summary(), _truths(store)
    holds_vectors = len(store.row_shape) == 1
    sample = read_sample(store) if holds_vectors and len(store) else None
    has_rows = sample is not None and bool(sample.clips)
    pairs = near_duplicates(sample) if sample and has_rows else []
    channels = channel_facts(sample) if sample and has_rows else None
    odd = _oddities(store, truths, unmoving(sample) if sample else [])
    return {
        "name": store.path.resolve().name,
        "sentence": _sentence(store, truths),
        "tiles": _tiles(store, summary, truths),
        "cautions": _cautions(store, summary, len(pairs), channels),
        "odd_lines": remark_lines(odd)[:MOST_LINES],
        "odd_clips": len({clip_id for clip_id, _ in odd}),
        "strips": _strips(store, odd),
        "map": map_content(sample, pairs) if sample else None,
        "sampled": len(sample.clips) if sample else 0,
        "stride": sample.stride if sample else 1,
        "clips": len(store),
        "pairs": pairs[:MOST_LISTED],
        "more_pairs": max(0, len(pairs) - MOST_LISTED),
        "speed": speed_content(summary),
        "lengths": _lengths(store, truths),
        "channels": channels,
        "spread": _spread(channels["spread"]) if channels else None,
        "failures": [(name, each.when, each.message) for name, each in list(store.failures().items())[:MOST_LISTED]],
        "failed": len(store.failures()),
        "recipe": plain_rows({"fingerprint": store.fingerprint, **store.recipe}),
        "made": plain_rows(_made(store, summary)),
    }


def _truths(store: Store) -> dict[str, VideoTruth]:
    """The record of every clip that has one; damaged ones are left out."""
    found = {}
    for clip_id in progress_bar(iterable=store.clip_ids, desc="records", unit="clip", delay=3, leave=False):
        try:
            truth = store.truth(clip_id)
        except DamagedShardError:
            continue  # `clipseq verify` names it
        if truth is not None:
            found[clip_id] = truth
    return found


def _sentence(store: Store, truths: dict[str, VideoTruth]) -> str:
    rows = sum(store.lengths().values())
    what = kind_of_features(store.recipe)
    width = " x ".join(map(str, store.row_shape)) + " numbers each" if store.row_shape else "nothing yet"
    hours = sum(truth.duration_seconds for truth in truths.values())
    length = f", from {_duration(hours)} of video" if hours else ""
    return f"{counted(store.clip_ids, 'clip')}: {counted(rows, 'timestep')} of {what}, {width}{length}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"


def _tiles(store: Store, summary: dict[str, Any], truths: dict[str, VideoTruth]) -> list[dict[str, str]]:
    failed = summary["failed"]
    codecs = sorted({truth.codec for truth in truths.values()})
    return [
        {"name": "clips", "value": f"{summary['clips']:,}", "note": f"{failed:,} failed" if failed else ""},
        {"name": "timesteps", "value": f"{summary['frames']:,}", "note": ""},
        {"name": "on disk", "value": f"{summary['bytes'] / 1e6:,.1f} MB", "note": counted(summary["shards"], "shard")},
        *([{"name": "codecs", "value": first_few(codecs), "note": ""}] if codecs else []),
    ]


def _cautions(store: Store, summary: dict[str, Any], pairs: int, channels: dict[str, Any] | None) -> list[Caution]:
    """The warnings, then what was checked and found in order."""
    unfinished, damaged, failed = summary["unfinished"], summary["damaged"], summary["failed"]
    found = [Caution("Beware", f"{text[0].upper()}{text[1:]}.", is_warning=True) for text in summary["warnings"]]
    if damaged:
        text = f"{counted(damaged, 'shard')} cannot be read: clipseq verify says which clips."
        found.append(Caution("Damaged", text, is_warning=True))
    if unfinished:
        text = f"{counted(unfinished, 'clip')} begun and not complete: {first_few(list(unfinished))}."
        found.append(Caution("Unfinished", text, is_warning=True))
    text = f"{counted(failed, 'clip')} could not be done; they are listed below." if failed else "No clip failed."
    found.append(Caution("Failures", text, is_warning=bool(failed)))
    if not len(store):
        found.append(Caution("Empty", "The store holds no complete clip yet.", is_warning=True))
    if channels:
        text = "No clip looks almost like another one."
        if pairs:
            text = f"{counted(pairs, 'pair')} of clips look almost the same: give the clips of a pair one group."
        found.append(Caution("Near-duplicates", text, is_warning=bool(pairs)))
        dead, width = channels["dead"], channels["width"]
        named = first_few(list(map(str, dead)), 8)
        text = f"{len(dead):,} of {width:,} never change (counted from 0: {named}), so they tell nothing."
        found.append(Caution("Dead channels", text if dead else f"All {width:,} change.", is_warning=bool(dead)))
    return sorted(found, key=lambda each: not each.is_warning)


def _oddities(store: Store, truths: dict[str, VideoTruth], still: Sequence[str]) -> list[tuple[str, str]]:
    """(clip_id, sentence), in the order of the clips."""
    lengths = store.lengths()
    median = float(np.median(list(lengths.values()))) if lengths else 0.0
    found = []
    for clip_id in store.clip_ids:
        said = _said_of(truths[clip_id]) if clip_id in truths else []
        steps = lengths[clip_id]
        if steps * ODD_LENGTH < median or steps > median * ODD_LENGTH:
            said.append(f"{counted(steps, 'timestep')}, the median clip has {median:,.0f}")
        found += [(clip_id, sentence) for sentence in said]
    return found + [(clip_id, "every timestep has the same numbers: a still picture?") for clip_id in still]


def _said_of(truth: VideoTruth) -> list[str]:
    words = {
        "declared frames differ": f"declares {truth.declared_frames or 0:,} frames, {truth.decoded_frames:,} came out",
        "rotated": f"rotated by {truth.rotation_degrees} degrees",
        "lost spans": f"lost frames at {first_few([span_text(span) for span in truth.lost_spans])}",
    }
    flags = odd_flags(truth, duration_seconds=truth.duration_seconds)
    noted = [*truth.notes, *truth.remarks]
    if any("timestamps rebuilt" in note for note in noted):  # it says why
        flags = tuple(flag for flag in flags if flag != "rebuilt timestamps")
    return [words.get(flag, flag) for flag in flags] + noted


def _strips(store: Store, odd: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Film strips of odd clips: two of every kind, the rare kinds first."""
    said: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for clip_id, sentence in odd:
        said.setdefault(clip_id, []).append(sentence)
        kinds.setdefault("".join(letter for letter in sentence if not letter.isdigit()), []).append(clip_id)
    rare_first = sorted(kinds.values(), key=len)
    chosen = dict.fromkeys(clip_id for clip_ids in rare_first for clip_id in clip_ids[:MOST_PER_KIND])
    rows = [
        {
            "clip_id": clip_id,
            "span": None,
            "link": link_to(store, clip_id, None),
            "said": "; ".join(said[clip_id]),
            **strip_of(store, clip_id, None),
        }
        for clip_id in list(chosen)[:MOST_STRIPS]
    ]
    reasons = {row["why"] for row in rows}
    return {"rows": rows, "why": reasons.pop() if len(rows) > 1 and len(reasons) == 1 else ""}


def speed_content(summary: dict[str, Any]) -> dict[str, Any] | None:
    """Where the time of the jobs went.

    Args:
        summary: Of a store.

    Returns:
        "sentence", "rows" (what the backbone did, seconds, share) and the seconds of "decode"; None if nothing was
        embedded.
    """
    seconds = {stage: summary["seconds"].get(stage, 0.0) for stage in WAITS}
    whole = sum(seconds.values())
    if not whole:
        return None
    waits = max(("backbone_waited", "backbone_held"), key=lambda stage: seconds[stage])
    slowest = waits if seconds[waits] > BOUND_SHARE * whole else "backbone"
    rate = summary["frames"] / whole
    return {
        "sentence": f"{counted(summary['frames'], 'timestep')} in {_duration(whole)} of work, {rate:,.1f} a second; "
        f"{BOTTLENECKS[slowest]}",
        "rows": [(name, seconds[stage], seconds[stage] / whole) for stage, name in WAITS.items()],
        "decode": summary["seconds"].get("decode", 0.0),
    }


def _lengths(store: Store, truths: dict[str, VideoTruth]) -> str | None:
    """A histogram of the lengths of the clips as `<svg>`; None for fewer than two."""
    in_seconds = len(truths) == len(store)
    lengths = [t.duration_seconds for t in truths.values()] if in_seconds else list(store.lengths().values())
    if len(lengths) < 2:
        return None
    title = "seconds of a clip" if in_seconds else "timesteps of a clip"

    def draw(axes: Any) -> None:
        axes.hist(lengths, bins=min(BINS, max(5, len(lengths) // 3)), color=PAGE["accent"])
        axes.set(xlabel=title, ylabel="clips")
        axes.locator_params(nbins=6, integer=not in_seconds)

    return chart_svg(draw, title=f"histogram of {title}")


def _spread(spread: np.ndarray) -> str:
    """The standard deviation of the channels, greatest first, as `<svg>`."""

    def draw(axes: Any) -> None:
        axes.plot(np.arange(1, len(spread) + 1), np.sort(spread)[::-1], color=PAGE["accent"], linewidth=1.4)
        axes.set(xlabel="channels, the liveliest first", ylabel="standard deviation", ylim=(0, None))
        axes.locator_params(nbins=6)

    return chart_svg(draw, title="standard deviation of the channels")


def _made(store: Store, summary: dict[str, Any]) -> dict[str, Any]:
    versions = {name: value for each in summary["versions"] for name, value in (each or {}).items()}
    latest = store.latest_ns()
    return {
        "path": str(store.path),
        "last written": when_text(latest) if latest else "never",
        "engines": summary["engines"],
        "kind of store": summary["kind"],
        "numbers": summary["dtype"],
        **versions,
    }
