"""The images of a report: theme-aware inline SVG for charts, tiny PNG strips for ribbons.

Charts use placeholder colours that become CSS variables of the page, so they follow its light and dark schemes.
User-chosen names appear only in the HTML, not in charts, so no chart font needs their letters.
"""

from __future__ import annotations

import base64
import colorsys
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Placeholder colours in the chart -> variables in the page.
INK, MUTED, LINE, ACCENT, QUIET = "#010101", "#020202", "#030303", "#040404", "#050505"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)", QUIET: "var(--quiet)"}

# Okabe & Ito 2008, colour-blind-safe, without black; then two more from Paul Tol's "muted".
SAFE_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255", "#999933")
UNLABELLED = "#d4d4d8"
ABSENT = "#ffffff"  # labelled, but without the strip's class
CHART_WIDTH = 5.0  # inches of 72 points; scaled by the page
RIBBON_COLUMNS = 1200
# A frame lasts until the next one, but not across a gap longer than this many usual steps.
LONGEST_HOLD_STEPS = 3


def class_palette(num_classes: int) -> list[str]:
    """Picks one colour per class: colour-blind-safe up to nine, beyond that spread over hue and lightness.

    Args:
        num_classes: K.

    Returns:
        K colours as "#rrggbb".
    """
    if num_classes <= len(SAFE_PALETTE):
        return list(SAFE_PALETTE[:num_classes])
    golden = 0.61803398875
    colours = [colorsys.hls_to_rgb(k * golden % 1, (0.35, 0.55, 0.75)[k % 3], 0.65) for k in range(num_classes)]
    return ["#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in colour)) for colour in colours]


def bars_svg(bars: Sequence[Mapping[str, Any]], *, top: float, title: str) -> str:
    """Draws one score of several models as horizontal bars with their intervals.

    Args:
        bars: One mapping per bar, top first: "name", "value", "ci95" ((low, high) or None), "is_model" (bool), "text";
            if there is a "mark", a ring is drawn at that value.
        top: Best possible value, 1 or 100.
        title: Name of the score, for screen readers.

    Returns:
        One `<svg>` element.
    """
    with _chart(width=CHART_WIDTH, height=0.5 + 0.42 * len(bars), title=title) as (axes, svg):
        for row, bar in enumerate(bars):
            colour = ACCENT if bar["is_model"] else QUIET
            axes.barh(row, bar["value"], height=0.62, color=colour)
            low, high = bar["ci95"] or (bar["value"], bar["value"])
            if bar["ci95"]:
                axes.plot([low, high], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
                axes.plot([low, high], [row, row], color=INK, linestyle="none", marker="|", markersize=7)
            mark = bar.get("mark")
            if mark is not None:
                axes.plot(mark, row, color=INK, marker="o", markersize=5, markerfacecolor="none")
            weight = "bold" if bar["is_model"] else "normal"
            axes.text(max(high, bar["value"], mark or 0) + top * 0.02, row, bar["text"], va="center", weight=weight)
        axes.set(xlim=(0, top * 1.12), ylim=(len(bars) - 0.4, -0.6))
        axes.set_yticks(range(len(bars)), [bar["name"] for bar in bars], color=INK)
        axes.set_xticks([top * step for step in (0, 0.25, 0.5, 0.75, 1)])
        axes.grid(axis="y", visible=False)
    return svg[0]


def curves_svg(logs: Sequence[Mapping[str, np.ndarray]], *, lines: Mapping[str, str], title: str) -> str | None:
    """Draws learning curves, one thin line per fold and seed, with a mark at the moment that was kept.

    Args:
        logs: Columns of each log, float64 (n,): "update" (of earlier versions "epoch") and those named in `lines`,
            which may be missing or nan.
        lines: Column -> what the legend calls it; the last one is drawn in the accent colour.
        title: Name of the chart, for screen readers.

    Returns:
        One `<svg>` element, or None if no log has any such number.
    """
    colours = dict(zip(reversed(list(lines)), (ACCENT, MUTED), strict=False))
    drawn = False
    with _chart(width=CHART_WIDTH, height=3.0, title=title) as (axes, svg):
        for column, name in lines.items():
            for log in (log for log in logs if np.isfinite(log.get(column, np.nan)).any()):
                alpha = max(0.3, min(1.0, 4 / len(logs)))
                label = None if name in axes.get_legend_handles_labels()[1] else name
                marker = "." if len(_moments(log)) == 1 else None
                style: dict[str, Any] = {"color": colours[column], "linewidth": 1.1, "alpha": alpha}
                axes.plot(_moments(log), log[column], marker=marker, label=label, **style)
                _mark_kept(axes, log, column=column, colour=colours[column])
                drawn = True
        axes.set_xlabel("update" if all("update" in log for log in logs) else "epoch")
        axes.locator_params(axis="x", integer=True)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            legend = axes.legend(frameon=False, fontsize=9)
            for handle in legend.get_lines():
                handle.set(alpha=1, linewidth=2)
    return svg[0] if drawn else None


def kept_moment(log: Mapping[str, np.ndarray]) -> int | None:
    """The update (or epoch) whose weights a fit kept.

    Args:
        log: Columns of the log; "kept" says which row it is.
    """
    return int(_moments(log)[log["kept"]][0]) if np.any(log.get("kept", False)) else None


def _moments(log: Mapping[str, np.ndarray]) -> np.ndarray:
    return log["update"] if "update" in log else log["epoch"]


def ribbon_png(labels: np.ndarray, pts_seconds: np.ndarray, *, end_seconds: float, palette: Sequence[str]) -> str:
    """Draws the labels of a clip over time as a strip one pixel high, which the page stretches.

    Args:
        labels: int64 (T,), -1 = unlabelled.
        pts_seconds: float64 (T,), increasing.
        end_seconds: The time at the right edge; the first frame's time is the left edge.
        palette: Colour of each class, "#rrggbb".

    Returns:
        A `data:image/png` URL. The strip is transparent over long gaps without frames.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.image import imsave

    step = usual_step(pts_seconds)
    times = np.linspace(pts_seconds[0], end_seconds, RIBBON_COLUMNS, endpoint=False)
    times += (end_seconds - pts_seconds[0]) / RIBBON_COLUMNS / 2
    frame = np.searchsorted(pts_seconds, times, side="right") - 1
    colours = np.array([to_rgba(colour) for colour in (*palette, UNLABELLED)])  # -1 picks the last
    strip = colours[labels[frame]]
    strip[times - pts_seconds[frame] > LONGEST_HOLD_STEPS * step] = 0
    buffer = io.BytesIO()
    imsave(buffer, strip[None], format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def usual_step(pts_seconds: np.ndarray) -> float:
    """The median time between frames.

    Args:
        pts_seconds: float64 (T,).

    Returns:
        Seconds, above 0; 1 for a single frame.
    """
    steps = np.diff(pts_seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


@contextmanager
def _chart(*, width: float, height: float, title: str) -> Iterator[tuple[Axes, list[str]]]:
    """Axes in house style; the list holds the finished SVG after the block."""
    import matplotlib
    from matplotlib.figure import Figure

    svg: list[str] = []
    with matplotlib.rc_context(_style()):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_axisbelow(True)
        yield axes, svg
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    svg.append(_inline(buffer.getvalue(), title=title))


def _style() -> Any:
    return {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": "clipseq",  # the same run gives the same bytes
        "text.parse_math": False,
        "font.size": 10,
        "axes.grid": True,
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "text.color": INK,
    }


def _inline(svg: str, *, title: str) -> str:
    """Strips what only a standalone file needs, names the chart and links its colours to the page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening = re.search(r'<svg .*?viewBox="([^"]*)".*?>', svg, flags=re.DOTALL)
    if opening:
        svg = f'<svg viewBox="{opening[1]}" role="img" aria-label="{html.escape(title)}">' + svg[opening.end() :]
    for placeholder, variable in THEME.items():
        svg = svg.replace(placeholder, variable)
    return svg


def _mark_kept(axes: Axes, log: Mapping[str, np.ndarray], *, column: str, colour: str) -> None:
    kept = np.asarray(log.get("kept", False)) & np.isfinite(log[column])
    if column.startswith("validation") and kept.any():
        axes.plot(_moments(log)[kept], log[column][kept], "o", markersize=4.5, color=colour, markeredgecolor=INK)
