"""The paper's ablations: what each part of the network is worth, under one budget and with several seeds."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from btbnet_jax import evaluation, metrics, report
from btbnet_jax.config import NetworkConfig, TrainConfig, paper_scales
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.initial import load_trained
from btbnet_jax.loop import Schedule, train

PROTOCOLS = ("mae", "adaptive", "max_of_mean")
INFERENCE_STEPS = tuple(range(7))


def _streams(number: int) -> Callable[[NetworkConfig], NetworkConfig]:
    """So many of the paper's scales, relative to the first scale of the network."""
    return lambda network: dataclasses.replace(
        network, scales=tuple(network.scales[0] * scale for scale in paper_scales(number))
    )


def _with(**fields: int | bool) -> Callable[[NetworkConfig], NetworkConfig]:
    return lambda network: dataclasses.replace(_streams(3)(network), **fields)


REFERENCE = "3S"
ROWS: dict[str, Callable[[NetworkConfig], NetworkConfig]] = {
    **{f"{number}S": _streams(number) for number in (1, 2, 3, 4)},
    "3S without RRNet": _with(use_rrnet=False),
    "3S without FNet": _with(use_fnet=False),
    "3S without FNet and RRNet": _with(use_fnet=False, use_rrnet=False),
    "3S, shared streams": _with(share_streams=True),
    **{f"3S, {number} steps": _with(num_steps=number) for number in (1, 2, 4, 5, 6)},
}
"""The network of each row, from the network that is asked for; "3S" has three recurrent steps, as the paper.

Source: section 4.3 of the paper, and its figures of 1S to 4S and of the number of steps.
"""


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
    schedule: Schedule,
) -> Iterator[Progress]:
    """Trains every row with every seed, and yields after each run; what is finished is not trained again.

    An interrupted run goes on where it was.  Scores are those of the validation images after the last step, so that
    no row profits from choosing among its checkpoints.  The folder keeps the runs, "ablations.md" and
    "ablations.json".

    Args:
      base: budget, data and width of all rows; its first scale is that of the first stream.
      rows: names out of `ROWS`.
      num_seeds: runs of each row.
      data_dir: folder of built data sets.
      folder: to keep it all in.
      schedule: of the single runs.

    Raises:
      ValueError: a row that does not exist, no validation images, or a run of another budget in the folder.
    """
    if unknown := [row for row in rows if row not in ROWS]:
        raise ValueError(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if base.data.validation == "none":
        raise ValueError("ablations are compared by validation images: hold some out")
    folder = Path(folder)
    for seed in range(num_seeds):  # a first figure of every row comes before a second of any
        for row in rows:
            config = configured(base, row, seed)
            run_dir = _run_dir(folder, row, seed)
            train(config, data_dir=data_dir, run_dir=run_dir, schedule=schedule)
            if row == REFERENCE:
                _score_inference_steps(config, run_dir, data_dir)
            yield Progress(row, seed, write_table(folder, rows, num_seeds))


def configured(base: TrainConfig, row: str, seed: int) -> TrainConfig:
    """Returns the configuration of a run."""
    data = dataclasses.replace(base.data, seed=seed)
    return dataclasses.replace(base, network=ROWS[row](base.network), data=data, seed=seed)


def write_table(folder: Path, rows: Sequence[str], num_seeds: int) -> str:
    """Writes the table of all finished runs, and returns it: mean and standard error over the seeds."""
    finished = {
        row: [scores for seed in range(num_seeds) if (scores := _final_scores(_run_dir(folder, row, seed)))]
        for row in rows
    }
    for steps in INFERENCE_STEPS:
        paths = [_run_dir(folder, REFERENCE, seed) / "inference_steps.json" for seed in range(num_seeds)]
        found = [json.loads(path.read_text())[str(steps)] for path in paths if path.exists()]
        finished[f"{REFERENCE}, {steps} steps when used"] = found
    values = {row: scores for row, scores in finished.items() if scores}
    report.write_json(folder / "ablations.json", values)
    lines = [
        {"network": row, "seeds": len(scores)} | {name: _mean_and_error(scores, name) for name in PROTOCOLS}
        for row, scores in values.items()
    ]
    text = report.markdown_table(lines, ["network", "seeds", *PROTOCOLS])
    (folder / "ablations.md").write_text(text)
    return text


def _mean_and_error(scores: Sequence[Mapping[str, float]], name: str) -> str:
    figures = np.array([one[name] for one in scores])
    if len(figures) < 2:
        return f"{figures.mean():.3f}"
    return f"{figures.mean():.3f} ± {figures.std(ddof=1) / np.sqrt(len(figures)):.3f}"


def _run_dir(folder: Path, row: str, seed: int) -> Path:
    return folder / row.replace(",", "").replace(" ", "_") / f"seed{seed}"


def _final_scores(run_dir: Path) -> dict[str, float] | None:
    """The scores of the validation images after the last step, None where the run has not come that far."""
    if not (run_dir / "config.json").exists() or not (run_dir / "validation.csv").exists():
        return None
    config = TrainConfig.from_json(json.loads((run_dir / "config.json").read_text()))
    with (run_dir / "validation.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    if int(last.pop("step")) < config.steps:
        return None
    return {name: float(value) for name, value in last.items()}


def _score_inference_steps(config: TrainConfig, run_dir: Path, data_dir: Path | str) -> None:
    """Scores the trained network with other numbers of recurrent steps than it was trained with."""
    path = run_dir / "inference_steps.json"
    if path.exists():
        return
    examples = hold_out(Examples(data_dir, config.data.name, config.data.split), config.data.validation)[1]
    trained = load_trained(run_dir / "checkpoints" / str(config.steps))
    scores = {}
    for steps in INFERENCE_STEPS:
        network = dataclasses.replace(trained.config.network, num_steps=steps)
        method = evaluation.network_method(network, trained.params)
        batch_size = config.data.batch_size if config.data.size else 1
        counts = evaluation.count_levels({"network": method}, examples, size=config.data.size, batch_size=batch_size)
        scores[str(steps)] = metrics.scores(counts["network"])
    report.write_json(path, scores)
