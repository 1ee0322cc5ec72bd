"""Checkpoints of a training run: the only module that knows Orbax.

A checkpoint holds named trees of arrays and a JSON record, with a sha256 of each tree in the record: Orbax
restores a file with a flipped byte without a word.  Whatever is not whole is passed over, with its reason.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from btbnet_jax.digests import digest
from btbnet_jax.processes import is_first, meet

_RECORD = "record"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read; the text says which, why, and what is still good."""


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      step: number of updates that it was saved after.
      trees: by name, as they were saved.
      record: JSON values, as they were saved.
      digests: sha256 of each tree.
    """

    step: int
    trees: dict[str, Any]
    record: dict[str, Any]
    digests: dict[str, str]


class Checkpoints:
    """The checkpoints of one folder: the last two, and the best by a metric that some are saved with.

    Args:
      folder: made if it does not exist.

    Raises:
      CheckpointError: the folder cannot be written to.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        policy = managers.AnyPreservationPolicy(
            [managers.LatestN(2), managers.BestN(get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False)]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=_metric,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {error}") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Returns the steps that there are checkpoints of, in rising order."""
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, trees: Mapping[str, Any], record: Mapping[str, Any], *, metric: float = -math.inf
    ) -> None:
        """Saves a checkpoint, whole or not at all.

        Args:
          step: number of updates.
          trees: of arrays, by name.
          record: JSON values.
          metric: the higher, the better; one that is not finite counts as the worst, as none does.

        Raises:
          CheckpointError: it could not be written, for want of space or of permission.
        """
        digests = {name: digest(tree) for name, tree in trees.items()}
        arguments: dict[str, Any] = {name: ocp.args.PyTreeSave(tree) for name, tree in trees.items()}
        arguments[_RECORD] = ocp.args.JsonSave({**record, "step": step, "digests": digests})
        metrics = {"metric": metric if math.isfinite(metric) else -math.inf}
        try:
            with _without_orbax_log():
                self._manager.save(step, args=ocp.args.Composite(**arguments), metrics=metrics, force=True)
        except Exception as error:  # Orbax and TensorStore raise anything, a bare Exception too
            good = [other for other in self.steps() if other != step]
            raise CheckpointError(
                f"the checkpoint of step {step} could not be saved to {self.folder}: {_first_line(error)}. "
                + (f"That of step {good[-1]} is still good." if good else "There is no other.")
            ) from error

    def restore(self, targets: Mapping[str, Any]) -> Checkpoint | None:
        """Returns the newest checkpoint that is whole, or None where there is none at all.

        Newer ones that are damaged are named in the log and renamed to "<step>.damaged"; where all are damaged,
        they stay as they are.

        Args:
          targets: for each tree its shapes, dtypes and shardings, as `jax.eval_shape` gives them.

        Raises:
          CheckpointError: there are checkpoints, and all of them are damaged.
        """
        damaged: dict[int, CheckpointError] = {}
        for step in self.steps()[::-1]:
            try:
                checkpoint = read(self.folder / str(step), targets)
            except CheckpointError as error:
                damaged[step] = error
                continue
            for newer, error in damaged.items() if is_first() else ():
                kept = _set_aside(self.folder / str(newer))
                logging.warning("%s; going on from that of step %d, and keeping this one as %s", error, step, kept.name)
            meet("damaged checkpoints are set aside")
            self._manager.reload()
            return checkpoint
        if damaged:
            reasons = "".join(f"\n  {error}" for error in damaged.values())
            raise CheckpointError(
                f"none of the checkpoints in {self.folder} is whole; train in another folder:{reasons}"
            )
        return None


def read(folder: Path, targets: Mapping[str, Any] | None = None, *, only: Sequence[str] | None = None) -> Checkpoint:
    """Returns the checkpoint in the folder of a step.

    Args:
      folder: of the step.
      targets: for each tree its shapes, dtypes and shardings; None for arrays on the host, as saved.
      only: names of the trees to read where there are no targets; None for all.

    Raises:
      CheckpointError: it is damaged.
    """
    try:
        record = dict(_restore(folder, {_RECORD: ocp.args.JsonRestore()})[_RECORD])
        digests = record.pop("digests")
        if targets is None:
            wanted = [name for name in digests if only is None or name in only]
            arguments = {name: _to_host(folder, name) for name in wanted}
        else:
            arguments = {name: _to_devices(target) for name, target in targets.items()}
        trees = _restore(folder, arguments) if arguments else {}  # nothing asked for would be everything to Orbax
    except Exception as error:  # Orbax and TensorStore raise anything, a bare Exception too
        raise CheckpointError(f"the checkpoint {folder} cannot be read: {_first_line(error)}") from error
    for name, tree in trees.items():
        if digest(tree) != digests.get(name):
            raise CheckpointError(f"the checkpoint {folder} is damaged: the sha256 of its {name} is not that recorded")
    return Checkpoint(record.pop("step"), trees, record, {name: digests[name] for name in trees})


def _restore(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    with _without_orbax_log(), ocp.Checkpointer(_handler(folder)) as checkpointer:
        return dict(checkpointer.restore(folder.absolute(), args=ocp.args.Composite(**arguments)))


def _to_host(folder: Path, name: str) -> Any:
    """Arguments that restore a tree as NumPy arrays, whatever devices it was saved from."""
    with ocp.Checkpointer(_handler(folder)) as checkpointer:
        metadata = checkpointer.metadata(folder.absolute()).item_metadata[name].tree
    return ocp.args.PyTreeRestore(
        restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
    )


def _to_devices(target: Any) -> Any:
    """Arguments that restore a tree with the shapes, dtypes and shardings of `target`."""
    return ocp.args.PyTreeRestore(item=target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))


def _handler(folder: Path) -> ocp.CompositeCheckpointHandler:
    # Named for every item: Orbax warns of those that it has to guess.
    names = [item.name for item in folder.iterdir() if item.is_dir()]
    json = ("metrics", _RECORD)
    handlers: dict[str, Any] = {
        name: ocp.JsonCheckpointHandler() if name in json else ocp.PyTreeCheckpointHandler() for name in names
    }
    return ocp.CompositeCheckpointHandler(**handlers)


def find(path: Path | str) -> list[Path]:
    """Returns the folders of the checkpoints at `path`, the best first, then the others from new to old.

    Args:
      path: of a run, of its checkpoints, or of one step's.

    Raises:
      FileNotFoundError: there is no checkpoint.
    """
    path = Path(path)
    if (path / _RECORD).is_dir():
        return [path]
    for folder in (path / "checkpoints", path):
        if folder.is_dir() and any(step.name.isdigit() for step in folder.iterdir()):
            # Nothing is written or cleaned up: a run may be going on there.
            options = ocp.CheckpointManagerOptions(best_fn=_metric, read_only=True, create=False, save_interval_steps=0)
            with _without_orbax_log(), ocp.CheckpointManager(folder.absolute(), options=options) as manager:
                best, steps = manager.best_step(), sorted(manager.all_steps(), reverse=True)
            return [folder / str(step) for step in sorted(steps, key=lambda step: step != best)]
    raise FileNotFoundError(f"{path} holds no checkpoint; give the folder of a run, or of one of its checkpoints")


def _set_aside(folder: Path) -> Path:
    """Renames a damaged checkpoint, so that it is no step any more, and returns its new path."""
    path, number = folder.with_name(f"{folder.name}.damaged"), 1
    while path.exists():
        number += 1
        path = folder.with_name(f"{folder.name}.damaged{number}")
    return folder.rename(path)


@contextlib.contextmanager
def _without_orbax_log() -> Iterator[None]:
    """Orbax reports every failure in its log as well, with the tracebacks of all its threads, before it raises it."""
    log = logging.getLogger("absl")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _metric(metrics: Mapping[str, float]) -> float:
    return metrics["metric"]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
