"""What a run starts from: fresh parameters, those of another run, or VGG16's for the trunks."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from btbnet_jax import checkpoints
from btbnet_jax.config import TrainConfig
from btbnet_jax.network import init_params
from btbnet_jax.pretrained import load_vgg16

Params = dict[str, Any]


class Trained(NamedTuple):
    """What a run has learned.

    Attributes:
      params: to predict with: their moving average where the run keeps one.
      config: of the run.
      digest: sha256 of the parameters.
      step: number of updates that they have had.
    """

    params: Params
    config: TrainConfig
    digest: str
    step: int


def load_trained(path: Path | str) -> Trained:
    """Returns what a run has learned, by its best checkpoint.

    Args:
      path: of a run, or of one of its checkpoints.

    Raises:
      FileNotFoundError: there is no checkpoint.
      CheckpointError: it is damaged; no other is taken unasked.
    """
    folder, *others = checkpoints.find(path)
    try:
        checkpoint = checkpoints.read(folder, only=("average", "params"))
    except checkpoints.CheckpointError as error:
        if not others:
            raise
        listed = ", ".join(map(str, others))
        raise checkpoints.CheckpointError(f"{error}. To use another one, name it: {listed}") from error
    name = "average" if "average" in checkpoint.trees else "params"
    config = TrainConfig.from_json(checkpoint.record["config"])
    return Trained(checkpoint.trees[name], config, checkpoint.digests[name], checkpoint.step)


def initial_params(config: TrainConfig) -> tuple[TrainConfig, Params]:
    """Returns the parameters before the first step, and the configuration with the normalisation they want.

    Raises:
      FileNotFoundError: `init_from` is not there.
      ValueError: its parameters are not those of the network.
    """
    fresh = init_params(jax.random.key(config.seed), config.network)
    if not config.init_from:
        return config, fresh
    path = Path(config.init_from)
    if path.is_dir():
        params, trained, *_ = load_trained(path)
        _check_same(fresh, params, path)
        normalisation = trained.network.normalisation
    elif path.is_file():
        vgg16 = load_vgg16(path, width=config.network.width)
        params = {
            name: part | {"trunk": vgg16.params} if name.startswith("stream") else part for name, part in fresh.items()
        }
        normalisation = vgg16.normalisation
    else:
        raise FileNotFoundError(f"init_from: there is no run and no VGG16 file {path}: train it first, or name another")
    network = dataclasses.replace(config.network, normalisation=normalisation)
    return dataclasses.replace(config, network=network), jax.tree.map(jax.numpy.asarray, params)


def _check_same(wanted: Params, found: Params, path: Path) -> None:
    """Raises ValueError with all that is missing from `found`, unexpected in it, or of another shape."""
    shapes = [
        {jax.tree_util.keystr(keys, simple=True, separator="/"): np.shape(leaf) for keys, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (wanted, found))
    ]
    problems = [
        f"{name}: {'missing' if got is None else list(got)}, wanted {'none' if want is None else list(want)}"
        for name in sorted(shapes[0] | shapes[1])
        if (want := shapes[0].get(name)) != (got := shapes[1].get(name))
    ]
    if problems:
        listed = "\n  ".join([*problems[:12], *([f"and {len(problems) - 12} more"] if len(problems) > 12 else [])])
        raise ValueError(f"the parameters of {path} are not those of the network that is configured:\n  {listed}")
