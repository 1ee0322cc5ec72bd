"""What a run starts from: fresh parameters, those of another run, or VGG16's for the trunks."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax

from btbnet_jax import checkpoints
from btbnet_jax.config import NetworkConfig, TrainConfig
from btbnet_jax.network import init_params
from btbnet_jax.pretrained import load_vgg16
from btbnet_jax.weights import Weights, differing_shapes, find_weights, is_weights, load_weights

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
      path: of a run, of one of its checkpoints, or of a weights file; or the name of weights, such as "btbnet-small".

    Raises:
      FileNotFoundError: there is nothing, or no checkpoint in it.
      CheckpointError: it is damaged; no other is taken unasked.
      WeightsError: a weights file is damaged.
    """
    path = _found(path)
    if path.is_file():
        weights = load_weights(path)
        summary = {"config": {}, "step": 0} | weights.summary
        config = TrainConfig.from_json(summary["config"] | {"network": weights.config.to_json()})
        return Trained(weights.params, config, weights.digest, summary["step"])
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


def weights_of(path: Path | str, *, licence: str) -> Weights:
    """Returns the weights of a run, of one of its checkpoints or of a weights file, to be saved; errors as above.

    Args:
      path: as of `load_trained`.
      licence: of the weights; that of a weights file where it is empty.
    """
    path = _found(path)
    if path.is_file():
        weights = load_weights(path)
        return weights._replace(licence=licence or weights.licence)
    trained = load_trained(path)
    record = checkpoints.read(checkpoints.find(path)[0], only=()).record
    summary = {name: record[name] for name in ("config", "validation", "versions") if name in record}
    return Weights(trained.params, trained.config.network, summary | {"step": trained.step}, licence)


def initial_params(config: TrainConfig) -> tuple[TrainConfig, Params]:
    """Returns the parameters before the first step, and the configuration with the normalisation they want.

    Raises:
      FileNotFoundError: `init_from` is not there.
      ValueError: its parameters are not those of the network.
    """
    fresh = init_params(jax.random.key(config.seed), config.network)
    if not config.init_from:
        return config, fresh
    path = _found(config.init_from)
    if path.is_dir() or is_weights(path):
        params, trained, *_ = load_trained(path)
        if problems := differing_shapes(fresh, params):
            listed = "\n  ".join(problems)
            raise ValueError(
                f"the parameters of {path} are not those of the network that is configured:\n  {listed}\n"
                f"That one has {_shape(trained.network)}, and here it is {_shape(config.network)}"
            )
        normalisation = trained.network.normalisation
    else:
        vgg16 = load_vgg16(path, width=config.network.width)
        params = {
            name: part | {"trunk": vgg16.params} if name.startswith("stream") else part for name, part in fresh.items()
        }
        normalisation = vgg16.normalisation
    network = dataclasses.replace(config.network, normalisation=normalisation)
    return dataclasses.replace(config, network=network), jax.tree.map(jax.numpy.asarray, params)


def start_in_words(config: TrainConfig) -> str:
    """Returns what `init_from` means for the log of a run: parameters come from there, no state of an optimiser."""
    warmup = config.optimiser.warmup_steps
    how = f"re-warmed: its rate rises from 0 over {warmup} steps" if warmup else "at its full rate (--warmup_steps=0)"
    return f"starts from the parameters of {config.init_from}; the optimiser begins anew, {how}"


def _found(name: Path | str) -> Path:
    """The run, checkpoint or file of a path, or the weights of a name such as "btbnet-small"."""
    if Path(name).exists():
        return Path(name)
    try:
        return find_weights(str(name))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no run, no checkpoint and no file {name}, and no weights of that name: train it first, or name "
            "another. btbnet-small is in the package; torchvision's VGG16 is at "
            "https://download.pytorch.org/models/vgg16-397923af.pth"
        ) from error


def _shape(network: NetworkConfig) -> str:
    """What the shapes of parameters depend on, as flags of train.py."""
    flags = {"scales": ",".join(map(str, network.scales)), "width": network.width}
    switches = {"share_streams": network.share_streams, "fnet": network.use_fnet, "rrnet": network.use_rrnet}
    return " ".join(
        [f"--{name}={value}" for name, value in flags.items()]
        + [f"--{'' if on else 'no'}{name}" for name, on in switches.items()]
    )
