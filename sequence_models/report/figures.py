"""The plots of a report as PDF and PNG for a paper of two columns, each with its data as CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from extract.system.files import guarded, make_folder, sealed_file, write_csv
from sequence_models.report.cautions import calibration_bins
from sequence_models.report.plots import (
    LOSS,
    PAPER,
    VALIDATION_SCORE,
    draw_calibration,
    draw_curves,
    moments,
    plot_axes,
    plot_style,
)
from sequence_models.report.run import EvaluatedRun, confusion_counts
from sequence_models.report.scores import score_tables, scored_models, scored_variants
from sequence_models.runs.run import FINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN = 3.35  # inches: one column of two on A4 or letter paper
LETTERS = 7  # points
PNG_DPI = 300
MOST_SCORES = 2  # figures of scores
MOST_NAMED = 30  # classes with a name beside a confusion matrix


class Figure(NamedTuple):
    """One figure: the name of its files, its size in inches, how it is drawn, and its data, the header first."""

    name: str
    size: tuple[float, float]
    draw: Callable[[Axes], object]
    rows: Sequence[Sequence[object]]


def write_figures(run: EvaluatedRun, folder: Path) -> list[Path]:
    """Writes NAME.pdf, NAME.png and NAME.csv of every figure of a run.

    Args:
        run: An evaluated run.
        folder: Where to; it is made, and files of the same names are replaced.

    Returns:
        All files.

    Raises:
        WriteError: A file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure as Paper

    make_folder(folder)
    written = []
    for figure in figures_of(run):
        with matplotlib.rc_context(plot_style(PAPER, points=LETTERS)):
            paper = Paper(figsize=figure.size, layout="constrained")
            figure.draw(plot_axes(paper))
            for ending, dates in (("pdf", {"CreationDate": None}), ("png", {})):
                path = folder / f"{figure.name}.{ending}"
                with sealed_file(path) as temporary:
                    paper.savefig(temporary, format=ending, dpi=PNG_DPI, metadata=dates)
                written.append(path)
        write_csv(folder / f"{figure.name}.csv", [[guarded(cell) for cell in row] for row in figure.rows])
        written.append(folder / f"{figure.name}.csv")
    return written


def figures_of(run: EvaluatedRun) -> list[Figure]:
    """All figures a run has data for."""
    tables = score_tables(scored_models(run), scored_variants(run), {})
    figures = [_scores(table) for table in tables[:MOST_SCORES]]
    if not run.run.settings.multi_label:
        figures += [_confusion(run), _calibration(run)]
    logs = {name: log for name, log in run.logs.items() if not name.startswith(f"{FINAL}-")}
    for name, lines in (("loss", LOSS), ("validation_score", VALIDATION_SCORE)):
        if any(np.isfinite(log.get(column, np.nan)).any() for log in logs.values() for column in lines):
            figures.append(_curves(name, logs, lines))
    return figures


def _scores(table: dict[str, Any]) -> Figure:
    rows = table["rows"]

    def draw(axes: Axes) -> None:
        scale = float(table["ticks"][-1]) - float(table["ticks"][0])
        for place, row in enumerate(rows):
            colour = PAPER["accent"] if row["role"] == "own" else PAPER["ink"]
            if row["score"].ci95:
                axes.plot(row["score"].ci95, [place, place], color=colour, linewidth=1)
            axes.plot(row["score"].value, place, "o", color=colour, markersize=4)
        if table["chance"] is not None:
            chance = float(table["ticks"][0]) + table["chance"] / 100 * scale
            axes.axvline(chance, color=PAPER["muted"], linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(rows)), [_short(row_name(row["title"]), 38) for row in rows], color=PAPER["ink"])
        axes.set(xlim=(float(table["ticks"][0]), float(table["ticks"][-1])), ylim=(len(rows) - 0.5, -0.5))
        axes.set_xlabel(table["title"])
        axes.grid(axis="y", visible=False)

    data = [("model", table["name"], "ci95_low", "ci95_high")]
    data += [(row["title"], row["score"].value, *(row["score"].ci95 or ("", ""))) for row in rows]
    return Figure(f"score_{_file_name(table['name'])}", (COLUMN, 0.5 + 0.19 * len(rows)), draw, data)


def row_name(title: str) -> str:
    """A title from `title_of` as its name in the files, if it has one in brackets, which fits beside a plot."""
    return re.sub(r"^.*\((\w+)\)", r"\1", title)


def _confusion(run: EvaluatedRun) -> Figure:
    names = run.run.vocabulary
    counts = confusion_counts(run.clips, num_classes=len(names))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: Axes) -> None:
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.grid(visible=False)
        places = range(len(names)) if len(names) <= MOST_NAMED else []
        shown = [_short(name, 18) for name in names] if len(names) <= MOST_NAMED else []
        axes.set_xticks(places, shown, rotation=90)
        axes.set_yticks(places, shown)
        axes.set(xlabel="prediction", ylabel="truth")
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.75)
        bar.outline.set_visible(False)
        bar.set_label("share of the truth")

    data: list[Sequence[object]] = [("truth", *names)]
    data += [(name, *row.tolist()) for name, row in zip(names, counts, strict=True)]
    return Figure("confusion", (COLUMN, COLUMN), draw, data)


def _calibration(run: EvaluatedRun) -> Figure:
    bins = calibration_bins(run)

    def draw(axes: Axes) -> None:
        draw_calibration(axes, bins, colours=PAPER)

    data: list[Sequence[object]] = [("probability_given", "share_right", "count")]
    data += [(each["given"], each["right"], each["count"]) for each in bins]
    return Figure("calibration", (COLUMN, 2.6), draw, data)


def _curves(name: str, logs: dict[str, Any], lines: dict[str, str]) -> Figure:
    def draw(axes: Axes) -> None:
        draw_curves(axes, list(logs.values()), lines=lines, colours=PAPER)
        axes.set_ylabel(name.replace("_", " "))

    data: list[Sequence[object]] = [("fit", "update", *lines)]
    for fit, log in logs.items():
        columns = [log.get(column, np.full(len(moments(log)), np.nan)) for column in lines]
        data += [(fit, *row) for row in zip(moments(log).tolist(), *(c.tolist() for c in columns), strict=True)]
    return Figure(f"curves_{name}", (COLUMN, 2.3), draw, data)


def _short(name: str, most: int) -> str:
    """A name that fits, with the code points of letters that the plots' font lacks (Chinese, emoji)."""
    letters = _known_letters()
    name = "".join(c if ord(c) in letters and c.isprintable() else ascii(c)[1:-1] for c in name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


@lru_cache
def _known_letters() -> frozenset[int]:
    import matplotlib
    from matplotlib.ft2font import FT2Font

    font = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")  # matplotlib's own, its default
    return frozenset(FT2Font(str(font)).get_charmap())


def _file_name(name: str) -> str:
    return name.replace("@", "_at_")
