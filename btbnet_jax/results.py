"""What an evaluation leaves behind: tables, curves, pictures, and a log of every look at test images."""

import csv
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from btbnet_jax import metrics, report
from btbnet_jax.data import Examples
from btbnet_jax.evaluation import Method, pictures
from btbnet_jax.histograms import LevelCounts

HEADLINE = ("mae", "adaptive", "max_of_mean")
"""The protocols of the printed table; the files have all of them."""


def write_results(
    folder: Path, counts: Mapping[str, LevelCounts], *, subject: str, title: str, details: Mapping[str, Any]
) -> list[dict[str, str | float]]:
    """Writes scores.md, results.json, images.csv, and the precision-recall curves; returns the rows of scores.

    Args:
      folder: to write to, made if it does not exist.
      counts: of each method.
      subject: the method that images.csv is about.
      title: of the curves: data set, split and size.
      details: whatever else is needed to repeat the evaluation; JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"method": name} | metrics.scores(one) for name, one in counts.items()]
    (folder / "scores.md").write_text(report.markdown_table(rows, list(rows[0])))
    images = [
        {"image": one.names[0], "mae": metrics.mae(one), "adaptive": metrics.adaptive(one)}
        for one in counts[subject].split()
    ]
    report.write_csv(folder / "images.csv", images, list(images[0]))
    curves = {name: metrics.curve(one) for name, one in counts.items()}
    report.write_curve_csv(folder / "curves.csv", curves)
    for suffix in ("png", "svg"):
        report.precision_recall_plot(folder / f"curves.{suffix}", curves, title=title)
    report.write_json(
        folder / "results.json",
        {"scores": rows, **details, "num_images": len(images), "versions": report.versions()},
    )
    return rows


def write_panel(
    path: Path, counts: LevelCounts, methods: Mapping[str, Method], examples: Examples, *, size: int, each: int = 3
) -> None:
    """Writes a picture of the best, the median and the worst images by the `adaptive` F of one method.

    Args:
      path: ends in ".png".
      counts: of the method that ranks the images, in the order of `examples`.
      methods: to show the maps of.
      examples: that were scored.
      size: that they were scored at.
      each: how many of each kind.
    """
    figures = np.array([metrics.adaptive(one) for one in counts.split()])
    order = np.argsort(-figures, kind="stable")
    middle = max(0, (len(order) - each) // 2)
    ranks = [*range(each), *range(middle, middle + each), *range(len(order) - each, len(order))]
    chosen = list(dict.fromkeys(int(order[rank]) for rank in ranks if 0 <= rank < len(order)))
    rows = pictures(methods.values(), examples, chosen, size=size)
    titles = [f"{examples.name(index)}\nF {figures[index]:.3f}" for index in chosen]
    report.panel(path, rows, column_titles=["image", "mask", *methods], row_titles=titles)


LOG_COLUMNS = (
    "date",
    "data",
    "split",
    "size",
    "params_sha256",
    "method",
    *(protocol.__name__ for protocol in metrics.PROTOCOLS),
)


def check_test_log(path: Path) -> None:
    """Sees to it, before the work, that looks at test images can be logged.

    Raises:
      ValueError: the log has other columns.
      OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", newline="") as file:
        file.seek(0)
        columns = next(csv.reader(file), None)
        if columns is None:
            csv.writer(file, lineterminator="\n").writerow(LOG_COLUMNS)
        elif columns != list(LOG_COLUMNS):
            raise ValueError(f"{path} has the columns {columns}, not {list(LOG_COLUMNS)}: move the log away")


def log_test(path: Path, looks: Sequence[Mapping[str, str | float]]) -> None:
    """Adds a row for each look at test images to their log, with today's date.

    Args:
      path: of the log, made if it does not exist.
      looks: what is in `LOG_COLUMNS`, but for the date.

    Raises:
      ValueError: the log has other columns, or a look has.
      OSError: it cannot be written.
    """
    check_test_log(path)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    rows = [
        {"date": date} | {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in look.items()}
        for look in looks
    ]
    with path.open("a", newline="") as file:
        csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n").writerows(rows)


def beaten(rows: Sequence[Mapping[str, str | float]], subject: str) -> list[str]:
    """Returns the methods whose `adaptive` F the subject does not exceed."""
    figures = {str(row["method"]): float(row["adaptive"]) for row in rows}
    return [name for name, figure in figures.items() if name != subject and figures[subject] <= figure]
