"""The state of training, its optimiser, and one step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from btbnet_jax.compiler import compiled
from btbnet_jax.config import OptimiserConfig, TrainConfig
from btbnet_jax.losses import WHOLE, Shares, joint_loss
from btbnet_jax.network import BTBNet, fastest_convolution, init_params
from btbnet_jax.resize import valid_pixels
from btbnet_jax.types import Batch

Params = dict[str, Any]
Metrics = dict[str, Float[Array, ""]]


class TrainState(struct.PyTreeNode):
    """All that changes from step to step, but for the position in the data, which is the step.

    Attributes:
      step: number of updates so far.
      params: of the network, float32.
      optimiser: state of optax.
      average: moving average of the parameters, None where none is kept.
    """

    step: Any  # an Int[Array, ""]; JAX puts shapes and shardings here as well
    params: Params
    optimiser: optax.OptState
    average: Params | None

    @property
    def best_params(self) -> Params:
        """The parameters to predict with: the average where one is kept."""
        return self.params if self.average is None else self.average


def learning_rate(config: OptimiserConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate at each step: a linear warm-up, then the schedule over the rest of `steps`.

    Raises:
      ValueError: the warm-up is as long as the whole run.
    """
    rest = steps - config.warmup_steps
    if rest < 1:
        raise ValueError(
            f"warmup_steps is less than the {steps} steps of the run, not {config.warmup_steps}: "
            "give fewer, or more steps"
        )
    schedules = {
        "constant": optax.constant_schedule(config.learning_rate),
        "cosine": optax.cosine_decay_schedule(config.learning_rate, rest),
        "poly": optax.polynomial_schedule(config.learning_rate, 0.0, 0.9, rest),
    }
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, schedules[config.schedule]], [config.warmup_steps])


def make_optimiser(config: OptimiserConfig, steps: int) -> optax.GradientTransformation:
    """Returns the optimiser: clipping, AdamW, SGD or Muon with decay of the kernels, and the trunks' own rate."""

    def kernels(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: _names(path)[-1] == "kernel", params)

    def trunks(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: "trunk" in _names(path), params)

    rate = learning_rate(config, steps)
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.kind == "adamw":
        parts += [optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels)]
    elif config.kind == "muon":
        axes: Any = _muon_axes  # whose type Optax does not foresee
        parts += [
            optax.contrib.muon(
                rate,
                beta=config.momentum,
                weight_decay=config.weight_decay,
                muon_weight_dimension_numbers=axes,
                consistent_rms=0.2,  # updates as long as those of AdamW, whose rates it can take
            )
        ]
    else:
        parts += [optax.add_decayed_weights(config.weight_decay, kernels), optax.sgd(rate, config.momentum)]
    if config.trunk_factor != 1:
        parts += [optax.masked(optax.scale(config.trunk_factor), trunks)]
    if config.keep_norms:
        parts += [optax.stateless(_keeping_norms)]
    return optax.chain(*parts)


def init_state(config: TrainConfig, params: Params | None = None) -> TrainState:
    """Returns the state before the first step.

    Args:
      config: of the run.
      params: to start from; None for fresh ones, from the seed of `config`.
    """
    if params is None:
        params = init_params(jax.random.key(config.seed), config.network)
    optimiser = jax.jit(make_optimiser(config.optimiser, config.steps).init)(params)
    average = jax.tree.map(jnp.array, params) if config.optimiser.ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, optimiser, average)


def make_train_step(config: TrainConfig) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns the compiled step: one update of the state, which is given away, and the step's metrics.

    The metrics are the loss, its terms, the norm of the gradient and the learning rate, all from before the
    update.
    """
    convolution = fastest_convolution(config.network)
    network = BTBNet(config.network, convolution)
    optimiser = make_optimiser(config.optimiser, config.steps)
    rate = learning_rate(config.optimiser, config.steps)

    def loss(params: Params, batch: Batch, shares: Shares = WHOLE) -> tuple[Float[Array, ""], Metrics]:
        images, masks, size = (jnp.asarray(array) for array in (batch.image, batch.mask, batch.size))
        outputs: Any = network.apply({"params": params}, images / 255.0, size)
        valid = valid_pixels(batch.image.shape[1:3], size)
        return joint_loss(outputs, masks / 255.0, valid, config=config.loss, shares=shares)

    gradient_of = _accumulated(jax.value_and_grad(loss, has_aux=True), config.accumulate)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        (value, terms), gradient = gradient_of(state.params, batch)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        average: Any = None
        if state.average is not None:
            # A long memory would keep the initial values for long: it grows with the run.
            decay = jnp.minimum(config.optimiser.ema, (1 + state.step) / (10 + state.step))
            average = optax.incremental_update(params, state.average, 1 - decay)
        metrics = {"loss": value, "learning_rate": rate(state.step), "gradient_norm": optax.tree.norm(gradient)}
        metrics |= {f"loss/{name}": term for name, term in terms.items()}
        return TrainState(state.step + 1, params, optimiser_state, average), metrics

    return compiled(step, onednn=convolution.by_onednn, donate_argnames="state")


def _accumulated(gradient_of: Callable[..., Any], num: int) -> Callable[[Params, Batch], Any]:
    """The gradient and loss of a batch as the sum of those of its parts, which are computed one after the other."""
    if num == 1:
        return gradient_of

    def divided(array: Any) -> Array:
        # Every num-th image is of one part: devices that share the batch share every part, and move nothing.
        return jnp.asarray(array).reshape(-1, num, *array.shape[1:]).swapaxes(0, 1)

    def whole(params: Params, batch: Batch) -> Any:
        parts = jax.tree.map(divided, batch)
        pixels = jnp.prod(parts.size, axis=-1).astype(jnp.float32)
        counts = (jnp.sum(pixels, axis=1), jnp.sum(pixels > 0, axis=1))
        shares = Shares(*(count / jnp.maximum(1, jnp.sum(count)) for count in counts))

        def add(sums: Any, part: tuple[Batch, Shares]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, gradient_of(params, *part)), None

        first = jax.tree.map(lambda leaf: leaf[0], (parts, shares))
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient_of, params, *first)
        )
        return jax.lax.scan(add, zeros, (parts, shares))[0]

    return whole


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Returns a mesh of all devices, or of the first few, along which batches are divided.

    Raises:
      ValueError: there are not so many.
    """
    devices = jax.devices()
    if jax.process_count() > 1 and num_devices not in (None, len(devices)):
        raise ValueError(
            f"several processes use all of their {len(devices)} devices: do not name {num_devices} of them"
        )
    if num_devices is not None and not 1 <= num_devices <= len(devices):
        there = "is 1 device" if len(devices) == 1 else f"are {len(devices)} devices"
        raise ValueError(f"there {there} to train on, not {num_devices}")
    devices = devices[:num_devices]
    return jax.make_mesh((len(devices),), ("data",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of the state: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def shared(batch: Batch, mesh: Mesh) -> Batch:
    """Returns the batch on the devices, each with its share; `batch` holds this process's part of it."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), batch)


def on_own_devices(tree: Any, mesh: Mesh) -> Any:
    """Returns what is replicated over a mesh as replicated over this process's part of it; nothing is copied."""
    sharding = replicated(mesh.local_mesh)

    def own(leaf: jax.Array) -> jax.Array:
        copies = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, copies)

    return jax.tree.map(own, tree)


def _keeping_norms(updates: Any, params: Any) -> Any:
    """The updates, changed so that what is summed up to each output of a kernel keeps its norm; not to a map's."""

    def norm(kernel: Array) -> Array:
        return jnp.sqrt(jnp.sum(jnp.square(kernel), axis=(0, 1, 2), keepdims=True))

    def changed(update: Array, kernel: Array) -> Array:
        if kernel.ndim != 4 or kernel.shape[-1] == 1:
            return update
        before, after = norm(kernel), norm(kernel + update)
        return jnp.where(before * after > 0, (kernel + update) * (before / after) - kernel, update)

    return jax.tree.map(changed, updates, params)


def _muon_axes(params: Params) -> Any:
    """The axes of each kernel that are inputs and outputs; None, which means Adam, for biases and kernels to a map."""
    axes = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    return jax.tree.map(lambda leaf: axes if leaf.ndim == 4 and leaf.shape[-1] > 1 else None, params)


def _names(path: Any) -> list[str]:
    return [str(key.key) for key in path]
