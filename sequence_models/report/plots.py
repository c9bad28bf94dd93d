"""The plots of a report: drawn on axes, for the page as theme-aware inline SVG, for papers as files (figures.py).

On the page, placeholder colours become CSS variables, so plots follow its light and dark schemes. User-chosen names
appear only in the HTML, not in its plots, so no plot font needs their letters.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What each colour is for -> a placeholder, which becomes the page's variable of that name.
PAGE = {"ink": "#010101", "muted": "#020202", "line": "#030303", "accent": "#040404", "quiet": "#050505"}
PAPER = {"ink": "#000000", "muted": "#404040", "line": "#d0d0d0", "accent": "#1f5fbf", "quiet": "#8a8f96"}

CHART_SIZE = (4.3, 2.7)  # inches of 72 points; scaled by the page
LOSS = {"loss": "training", "validation_loss": "validation"}
VALIDATION_SCORE = {"validation_score": "validation"}
# A frame lasts until the next one, but not across a gap longer than this many usual steps.
LONGEST_HOLD_STEPS = 3


def draw_curves(
    axes: Axes, logs: Sequence[Mapping[str, np.ndarray]], *, lines: Mapping[str, str], colours: Mapping[str, str]
) -> None:
    """Draws learning curves by update, one thin line per fold and seed, with a mark at the moment that was kept.

    Args:
        axes: Where to draw.
        logs: Columns of each log, float64 (n,): "update" (of earlier versions "epoch") and those named in `lines`,
            which may be missing or nan.
        lines: Column -> what the legend calls it; the last one is drawn in the accent colour.
        colours: PAGE or PAPER.
    """
    of_line = dict(zip(reversed(list(lines)), (colours["accent"], colours["muted"]), strict=False))
    for column, name in lines.items():
        for log in (log for log in logs if np.isfinite(log.get(column, np.nan)).any()):
            alpha = max(0.3, min(1.0, 4 / len(logs)))
            label = None if name in axes.get_legend_handles_labels()[1] else name
            marker = "." if len(moments(log)) == 1 else None
            dashes = "-" if of_line[column] == colours["accent"] else "--"
            style: dict[str, Any] = {"color": of_line[column], "linewidth": 1.1, "alpha": alpha, "linestyle": dashes}
            axes.plot(moments(log), log[column], marker=marker, label=label, **style)
            _mark_kept(axes, log, column=column, colour=of_line[column], edge=colours["ink"])
    axes.set_xlabel("update" if all("update" in log for log in logs) else "epoch")
    axes.locator_params(axis="x", integer=True, nbins=6)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        legend = axes.legend(frameon=False)
        for handle in legend.get_lines():
            handle.set(alpha=1, linewidth=1.6)


def draw_calibration(axes: Axes, bins: Sequence[Mapping[str, float]], *, colours: Mapping[str, str]) -> None:
    """Draws how often predictions are right against the probability they were made with.

    Args:
        axes: Where to draw.
        bins: From `calibration_bins`.
        colours: PAGE or PAPER.
    """
    axes.plot([0, 1], [0, 1], color=colours["muted"], linewidth=1, linestyle="--")
    total = sum(each["count"] for each in bins)
    given, right = [each["given"] for each in bins], [each["right"] for each in bins]
    axes.plot(given, right, color=colours["accent"], linewidth=1.1)
    sizes = [12 + 240 * each["count"] / total for each in bins]
    axes.scatter(given, right, s=sizes, color=colours["accent"], alpha=0.75, edgecolor="none", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability given", ylabel="share that is right")
    ticks = (0, 0.25, 0.5, 0.75, 1)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def chart_svg(draw: Callable[[Axes], object], *, title: str) -> str:
    """One `<svg>` element for the page.

    Args:
        draw: Draws on axes, in the colours of PAGE.
        title: Name of the chart, for screen readers.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(plot_style(PAGE)):
        figure = Figure(figsize=CHART_SIZE, layout="constrained")
        draw(plot_axes(figure))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return _inline(buffer.getvalue(), title=title)


def curves_svg(logs: Sequence[Mapping[str, np.ndarray]], *, lines: Mapping[str, str], title: str) -> str | None:
    """`draw_curves` for the page; None if no log has any such number."""
    if not any(np.isfinite(log.get(column, np.nan)).any() for log in logs for column in lines):
        return None
    return chart_svg(lambda axes: draw_curves(axes, logs, lines=lines, colours=PAGE), title=title)


def kept_moment(log: Mapping[str, np.ndarray]) -> int | None:
    """The update (or epoch) whose weights a fit kept.

    Args:
        log: Columns of the log; "kept" says which row it is.
    """
    return int(moments(log)[log["kept"]][0]) if np.any(log.get("kept", False)) else None


def moments(log: Mapping[str, np.ndarray]) -> np.ndarray:
    """The updates (or epochs) of the rows of a log."""
    return log["update"] if "update" in log else log["epoch"]


def usual_step(pts_seconds: np.ndarray) -> float:
    """The median time between frames.

    Args:
        pts_seconds: float64 (T,).

    Returns:
        Seconds, above 0; 1 for a single frame.
    """
    steps = np.diff(pts_seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


def plot_axes(figure: Any) -> Axes:
    """The only axes of a figure, in house style."""
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_axisbelow(True)
    return axes


def plot_style(colours: Mapping[str, str], *, points: float = 10) -> Any:
    """Matplotlib's settings for a plot; `points` is the size of its letters."""
    return {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": "clipseq",  # the same run gives the same bytes
        "pdf.fonttype": 42,
        "text.parse_math": False,
        "font.size": points,
        "legend.fontsize": 0.9 * points,
        "axes.grid": True,
        "grid.color": colours["line"],
        "grid.linewidth": 0.7,
        "axes.edgecolor": colours["line"],
        "axes.labelcolor": colours["muted"],
        "xtick.color": colours["muted"],
        "ytick.color": colours["muted"],
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "text.color": colours["ink"],
    }


def _inline(svg: str, *, title: str) -> str:
    """Strips what only a standalone file needs, names the chart and links its colours to the page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening = re.search(r'<svg .*?viewBox="([^"]*)".*?>', svg, flags=re.DOTALL)
    if opening:
        svg = f'<svg viewBox="{opening[1]}" role="img" aria-label="{html.escape(title)}">' + svg[opening.end() :]
    for name, placeholder in PAGE.items():
        svg = svg.replace(placeholder, f"var(--{name})")
    return svg


def _mark_kept(axes: Axes, log: Mapping[str, np.ndarray], *, column: str, colour: str, edge: str) -> None:
    kept = np.asarray(log.get("kept", False)) & np.isfinite(log[column])
    if column.startswith("validation") and kept.any():
        axes.plot(moments(log)[kept], log[column][kept], "o", markersize=4.5, color=colour, markeredgecolor=edge)
