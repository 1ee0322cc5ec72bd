"""What an evaluation leaves behind: tables, curves, pictures, and a log of every look at test images."""

import csv
import datetime
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from btbnet_jax import metrics, plots, report
from btbnet_jax.data import Examples
from btbnet_jax.difficulty import Difficulty, breakdown
from btbnet_jax.evaluation import Method, pictures
from btbnet_jax.histograms import LevelCounts
from btbnet_jax.intervals import Interval, difference_interval, interval, resamplings

HEADLINE = ("mae", "adaptive", "max_of_mean")
"""The protocols of the printed table; the files have all of them."""


def write_results(
    folder: Path,
    counts: Mapping[str, LevelCounts],
    *,
    subject: str,
    title: str,
    details: Mapping[str, Any],
    measures: Difficulty | None = None,
) -> list[dict[str, str | float]]:
    """Writes the tables and curves of an evaluation; returns the rows of scores.

    scores.md has every protocol with its 95 % interval, differences.md how far the subject is above the other
    methods, breakdown.md the figures of easy and hard images, images.csv those of each image, curves.* precision
    and recall, and results.json all that the tables say, `notes`, and what is needed to repeat it.

    Args:
      folder: to write to, made if it does not exist.
      counts: of each method.
      subject: the method that the others are compared with.
      title: of the curves: data set, split and size.
      details: whatever else is needed to repeat the evaluation; JSON values.
      measures: of what makes the images hard, None to leave them out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    num_images = len(counts[subject].names)
    weights = resamplings(num_images)
    intervals = {
        name: {protocol.__name__: interval(protocol, one, weights) for protocol in metrics.PROTOCOLS}
        for name, one in counts.items()
    }
    rows = [
        {"method": name} | {protocol: one.figure for protocol, one in of_method.items()}
        for name, of_method in intervals.items()
    ]
    differences = {
        name: {
            protocol.__name__: difference_interval(protocol, counts[subject], one, weights)
            for protocol in metrics.PROTOCOLS
        }
        for name, one in counts.items()
        if name != subject
    }
    _write_intervals(folder / "scores.md", intervals, "method", "{:.3f} [{:.3f}, {:.3f}]")
    if differences:
        _write_intervals(folder / "differences.md", differences, f"{subject} minus", "{:+.3f} [{:+.3f}, {:+.3f}]")
    _write_images(folder / "images.csv", counts, measures)
    hard = breakdown(measures, counts, (metrics.mae, metrics.adaptive)) if measures and num_images >= 3 else []
    if hard:
        (folder / "breakdown.md").write_text(report.markdown_table(hard, list(hard[0])))
    curves = {name: metrics.curve(one) for name, one in counts.items()}
    report.write_curve_csv(folder / "curves.csv", curves)
    for suffix in ("png", "svg"):
        plots.precision_recall_plot(folder / f"curves.{suffix}", curves, title=title)
    values = {
        "subject": subject,
        "scores": rows,
        "intervals": _plain(intervals),
        "differences": _plain(differences),
        "breakdown": hard,
        **details,
        "num_images": num_images,
        "notes": notes(counts[subject]),
        "versions": report.versions(),
    }
    report.write_json(folder / "results.json", values)
    return rows


def check_earlier(folder: Path, flags: Mapping[str, Any]) -> None:
    """Sees to it, before the work, that no other evaluation is replaced; the same flags may replace their own.

    Args:
      folder: that would be written to.
      flags: that figures depend on; `write_results` keeps them as "flags" of its details.

    Raises:
      ValueError: the evaluation in the folder had other flags.
    """
    path = folder / "results.json"
    earlier = json.loads(path.read_text("utf-8", "surrogateescape")).get("flags", {}) if path.is_file() else {}
    now = json.loads(json.dumps(flags))  # tuples are lists there
    changes = [f"{name}: {earlier[name]} -> {now[name]}" for name in now if earlier.get(name, now[name]) != now[name]]
    if changes:
        listed = "\n- ".join(changes)
        raise ValueError(
            f"{folder} holds an evaluation with other flags (then -> now):\n- {listed}\n"
            "Give another --output; to replace what is there, delete that folder"
        )


def notes(counts: LevelCounts) -> list[str]:
    """Returns what one should know of the masks that maps were scored by; nothing where they are as usual."""
    positive = counts.pixels(counts.mask_level > 0.1 * 255)  # the lowest level that `metrics` calls in focus
    empty, num_images = int((positive == 0).sum()), len(counts.names)
    if not empty:
        return []
    return [
        f"{empty} of {num_images} masks have no pixel that counts as in focus: there every map has an F of 0, but for "
        "the protocols of blur"
    ]


def _write_intervals(path: Path, intervals: Mapping[str, Mapping[str, Interval]], what: str, form: str) -> None:
    rows = [
        {what: name} | {protocol: form.format(*one) for protocol, one in of_method.items()}
        for name, of_method in intervals.items()
    ]
    path.write_text(report.markdown_table(rows, list(rows[0])))


def _plain(intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {protocol: one._asdict() for protocol, one in of_method.items()} for name, of_method in intervals.items()
    }


def _write_images(path: Path, counts: Mapping[str, LevelCounts], measures: Difficulty | None) -> None:
    """A line for each image and method, with the figures of all protocols for that image alone."""
    of_images = {} if measures is None else measures._asdict()
    rows: list[dict[str, str | float]] = []
    for name, one in counts.items():
        figures = {protocol.__name__: protocol.of_mean(protocol.of_images(one)) for protocol in metrics.PROTOCOLS}
        columns = figures | of_images
        rows += [
            {"image": image, "method": name} | {column: float(values[index]) for column, values in columns.items()}
            for index, image in enumerate(one.names)
        ]
    report.write_csv(path, rows, list(rows[0]))


def write_panels(
    folder: Path,
    counts: Mapping[str, LevelCounts],
    methods: Mapping[str, Method],
    subjects: Sequence[str],
    examples: Examples,
    *,
    size: int,
) -> None:
    """Writes best_median_worst.png by the first subject, and differing.png by all of them; both show every method.

    A lone subject differs from the best of the other methods; without any there is no differing.png.

    Args:
      folder: to write to.
      counts: of all methods, in the order of `examples`.
      methods: to show the maps of; they are computed anew, for the images that are shown alone.
      subjects: networks and folders of maps, which choose the images.
      examples: that were scored.
      size: that they were scored at.
    """
    figures = {name: metrics.adaptive.of_images(counts[name])[:, 0] for name in methods}
    others = sorted(methods.keys() - set(subjects), key=lambda name: (-figures[name].mean(), name))
    rivals = list(subjects) if len(subjects) > 1 else [*subjects, *others[:1]]
    panels = {"best_median_worst.png": best_median_worst(subjects[0], figures[subjects[0]])}
    if len(rivals) > 1:
        panels["differing.png"] = most_differing({name: figures[name] for name in rivals})
    indices = sorted({index for chosen in panels.values() for index in chosen})
    rows = dict(zip(indices, pictures(methods.values(), examples, indices, size=size), strict=True))
    first = 0 if examples.has_images else 1
    for name, chosen in panels.items():
        plots.panel(
            folder / name,
            [rows[index][first:] for index in chosen],
            column_titles=["image", "mask", *methods][first:],
            row_titles=[f"{examples.name(index)}\n{title}" for index, title in chosen.items()],
        )


def best_median_worst(name: str, figures: Float[ndarray, " i"], *, each: int = 3) -> dict[int, str]:
    """Returns which images to show, and as what: some of the best, the median and the worst by the F of a method."""
    order = np.argsort(-figures, kind="stable")
    middle = max(0, (len(order) - each) // 2)
    ranks = [*range(each), *range(middle, middle + each), *range(len(order) - each, len(order))]
    chosen: dict[int, str] = {}
    for rank, kind in zip(ranks, ["best"] * each + ["median"] * each + ["worst"] * each, strict=True):
        if 0 <= rank < len(order):
            index = int(order[rank])
            chosen.setdefault(index, f"{kind}\nadaptive F\n{name} {figures[index]:.3f}")
    return chosen


def most_differing(figures: Mapping[str, Float[ndarray, " i"]], *, num: int = 8) -> dict[int, str]:
    """Returns on which images, `num` at most, the F of some methods lies furthest apart, and what it is there."""
    table = np.stack(list(figures.values()))
    chosen = np.argsort(table.min(axis=0) - table.max(axis=0), kind="stable")[:num].tolist()
    return {
        index: "\n".join(["adaptive F", *(f"{name} {of_method[index]:.3f}" for name, of_method in figures.items())])
        for index in chosen
    }


LOG_COLUMNS = (
    "date",
    "data",
    "split",
    "size",
    "positive",
    "mask_threshold",
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


def beaten(rows: Sequence[Mapping[str, str | float]], subjects: Collection[str]) -> list[str]:
    """Returns the other methods whose `adaptive` F not all subjects exceed."""
    figures = {str(row["method"]): float(row["adaptive"]) for row in rows}
    weakest = min(figures[name] for name in subjects)
    return [name for name, figure in figures.items() if name not in subjects and weakest <= figure]
