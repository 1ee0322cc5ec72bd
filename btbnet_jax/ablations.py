"""Ablations: what each part of the network and of the simulation is worth, under one budget and with several seeds."""

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from btbnet_jax import evaluation, metrics, report
from btbnet_jax.config import TrainConfig, paper_scales
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.fields import differences
from btbnet_jax.initial import load_trained
from btbnet_jax.loop import Schedule, train
from btbnet_jax.sources import layered

PROTOCOLS = ("mae", "adaptive", "max_of_mean")
INFERENCE_STEPS = tuple(range(7))

Change = Callable[[TrainConfig], TrainConfig]


def _streams(number: int, **fields: int | bool) -> Change:
    """So many of the paper's scales, relative to the first scale of the network, and other fields of the network."""

    def change(base: TrainConfig) -> TrainConfig:
        scales = tuple(base.network.scales[0] * scale for scale in paper_scales(number))
        network = dataclasses.replace(base.network, scales=scales, **fields)
        if network.use_rrnet:
            return dataclasses.replace(base, network=network)
        # FNet's map is the final one, and has no weight of its own.
        return dataclasses.replace(
            base, network=network, loss=dataclasses.replace(base.loss, fnet_weight=0.0, step_weight=0.0)
        )

    return change


def _trained_on(name: str) -> Change:
    """Another data set to train on, of which nothing is held out."""
    return lambda base: dataclasses.replace(
        base, data=dataclasses.replace(base.data, name=f"simulated/{name}", split="train", validation="none")
    )


def _with(**parts: dict[str, Any]) -> Change:
    """Other fields of some parts of the configuration."""

    def change(base: TrainConfig) -> TrainConfig:
        changed = {name: dataclasses.replace(getattr(base, name), **fields) for name, fields in parts.items()}
        return dataclasses.replace(base, **changed)

    return change


def _at_scales(text: str) -> Change:
    return _with(network={"scales": tuple(Fraction(scale) for scale in text.split(", "))})


REFERENCE = "3S"
TABLES: dict[str, dict[str, Change]] = {
    "network": {
        **{f"{number}S": _streams(number) for number in (1, 2, 3, 4)},
        "3S without RRNet": _streams(3, use_rrnet=False),
        "3S without FNet": _streams(3, use_fnet=False),
        "3S without FNet and RRNet": _streams(3, use_fnet=False, use_rrnet=False),
        "3S, shared streams": _streams(3, share_streams=True),
        **{f"3S, {number} steps": _streams(3, num_steps=number) for number in (1, 2, 4, 5, 6)},
    },
    "simulation": {
        "the paper's halves": _trained_on("photographs_on_the_fly"),
        "layered": _trained_on("layered"),
        "layered with patches": _trained_on("layered_with_patches"),
        **{f"layered without {name}": _trained_on(f"layered_without_{name}") for name in layered.INGREDIENTS},
    },
    "recipe": {
        "as given": lambda base: base,
        **{f"width {width}": _with(network={"width": float(Fraction(width))}) for width in ("3/32", "3/16")},
        **{f"scales {scales}": _at_scales(scales) for scales in ("1, 1/2, 1/4", "3/4, 1/2, 1/4", "1/2, 1/4, 1/8")},
        **{f"images of {size}": _with(data={"size": size}) for size in (240, 400)},
        "crops of 128, 6 at a time": _with(data={"crop": 128, "batch_size": 6}),
        "crops of 224, 2 at a time": _with(data={"crop": 224, "batch_size": 2}),
        "whole images, 1 at a time": _with(data={"crop": 0, "batch_size": 1}),
        "one orientation": _with(data={"orientations": "none"}),
        "16 orientations": _with(data={"orientations": "paper"}),
        "grain of 6": _with(data={"grain": 6.0}),
        **{f"rate {rate}": _with(optimiser={"learning_rate": rate}) for rate in (0.0015, 0.006)},
        "constant rate": _with(optimiser={"schedule": "constant"}),
        "without keeping norms": _with(optimiser={"keep_norms": False}),
    },
}
"""The rows of each table: what is trained instead of what is asked for.

"network": other networks, where "3S" has three recurrent steps, as the paper.  Source: section 4.3 of the paper, and
its figures of 1S to 4S and of the number of steps.  "simulation": the same network trained on simulated scenes alone,
and judged by the validation images of the data set that is asked for.  "recipe": one choice of the small network's
changed at a time; a row of another size is scored at that size, as it would be used.
"""
ROWS = {row: change for table in TABLES.values() for row, change in table.items()}

Scores = dict[str, float]
Finished = dict[str, dict[str, Scores]]
"""Scores of the validation images by the row and the seed, as text, of a run."""


class Progress(NamedTuple):
    """A run that is finished.

    Attributes:
      row: of the table.
      seed: of the parameters and of the data.
      table: of all that is finished so far, in Markdown.
    """

    row: str
    seed: int
    table: str


def run_ablations(
    base: TrainConfig,
    *,
    rows: Sequence[str],
    num_seeds: int,
    data_dir: Path | str,
    folder: Path | str,
    scores: Path,
    schedule: Schedule,
    num_devices: int | None = None,
) -> Iterator[Progress]:
    """Trains every row with every seed, and yields after each run; what is finished is not trained again.

    An interrupted run goes on where it was.  Scores are those of the validation images after the last step, so that
    no row profits from choosing among its checkpoints.

    Args:
      base: budget, data and width of all rows; its first scale is that of the first stream.
      rows: names out of `ROWS`.
      num_seeds: runs of each row.
      data_dir: folder of built data sets.
      folder: of the runs.
      scores: file, ends in ".json", that the scores of every finished run are added to, with the table beside it in
        Markdown; what stands in it is finished, also where its run is no longer there.
      schedule: of the single runs.
      num_devices: that share each batch, None for all.

    Raises:
      ValueError: a row that does not exist, no validation images, or scores under another budget in the file.
    """
    if unknown := [row for row in rows if row not in ROWS]:
        raise ValueError(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if base.data.validation == "none":
        raise ValueError("ablations are compared by validation images: hold some out")
    finished = _read(scores, base)
    for seed in range(num_seeds):  # a first figure of every row comes before a second of any
        for row in rows:
            if str(seed) in finished.get(row, {}):
                continue
            config, run_dir = configured(base, row, seed), _run_dir(Path(folder), row, seed)
            train(config, data_dir=data_dir, run_dir=run_dir, schedule=schedule, num_devices=num_devices)
            used = {_when_used(steps): steps for steps in INFERENCE_STEPS} if row == REFERENCE else {}
            if config.data.validation == "none":  # judged by images of another data set than it was trained on
                used[row] = config.network.num_steps
            found = _scores(run_dir / "checkpoints" / str(config.steps), used, base, data_dir)
            if row not in found:
                found[row] = _final_scores(run_dir)
            for name, figures in found.items():
                finished.setdefault(name, {})[str(seed)] = figures
            table = table_of(finished)
            report.write_json(scores, {"budget": base.to_json(), "runs": finished, "versions": report.versions()})
            scores.with_suffix(".md").write_text(table)
            yield Progress(row, seed, table)


def configured(base: TrainConfig, row: str, seed: int) -> TrainConfig:
    """Returns the configuration of a run."""
    config = ROWS[row](base)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, seed=seed), seed=seed)


def table_of(finished: Mapping[str, Mapping[str, Scores]]) -> str:
    """Returns the table in Markdown: mean and standard error over the seeds, in the order of `ROWS`."""
    names = [*ROWS, *(_when_used(steps) for steps in INFERENCE_STEPS)]
    lines = [
        {"row": name, "seeds": len(of)} | {protocol: _mean_and_error(of, protocol) for protocol in PROTOCOLS}
        for name in names
        if (of := list(finished.get(name, {}).values()))
    ]
    return report.markdown_table(lines, ["row", "seeds", *PROTOCOLS])


def _read(path: Path, base: TrainConfig) -> Finished:
    """The scores in a file, which are under the same budget."""
    if not path.exists():
        return {}
    values = json.loads(path.read_text())
    if changes := differences(TrainConfig.from_json(values["budget"]), base):
        listed = "\n  ".join(changes)
        raise ValueError(
            f"{path} has scores under another budget (its value -> yours):\n  {listed}\nGive another file (--scores)"
        )
    return values["runs"]


def _mean_and_error(scores: Sequence[Scores], name: str) -> str:
    figures = np.array([one[name] for one in scores])
    if len(figures) < 2:
        return f"{figures.mean():.3f}"
    return f"{figures.mean():.3f} ± {figures.std(ddof=1) / np.sqrt(len(figures)):.3f}"


def _run_dir(folder: Path, row: str, seed: int) -> Path:
    return folder / re.sub(r"\W+", "_", row.replace("'", "")) / f"seed{seed}"


def _when_used(steps: int) -> str:
    return f"{REFERENCE}, {steps} steps when used"


def _final_scores(run_dir: Path) -> Scores:
    """The scores of the validation images after the last step."""
    with (run_dir / "validation.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return {name: float(value) for name, value in last.items() if name != "step"}


def _scores(checkpoint: Path, used: Mapping[str, int], base: TrainConfig, data_dir: Path | str) -> dict[str, Scores]:
    """The scores of a trained network on the validation images of `base`, by names, each with a number of steps."""
    if not used:
        return {}
    examples = hold_out(Examples(data_dir, base.data.name, base.data.split), base.data.validation)[1]
    trained = load_trained(checkpoint)
    batch_size = base.data.batch_size if base.data.size else 1
    methods = {
        name: evaluation.network_method(dataclasses.replace(trained.config.network, num_steps=steps), trained.params)
        for name, steps in used.items()
    }
    counts = evaluation.count_levels(methods, examples, size=base.data.size, batch_size=batch_size)
    return {name: metrics.scores(one) for name, one in counts.items()}
