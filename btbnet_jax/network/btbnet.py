"""The whole network: scales, streams, fusion, recurrent refinement."""

import functools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from btbnet_jax.config import NetworkConfig, Normalisation
from btbnet_jax.network.convolution import KEPT, Convolution, he_deviation, zero_outside
from btbnet_jax.network.frrnet import FNet, RRNet, passing_on
from btbnet_jax.network.stream import Stream
from btbnet_jax.resize import resize, scaled_size, valid_pixels
from btbnet_jax.types import Images, Maps, Sizes, Valid

_FIRST_MAPS = 0.01  # times He's values, in the last layers of a stream
_POLICIES = {
    "all": jax.checkpoint_policies.nothing_saveable,
    "half": jax.checkpoint_policies.save_only_these_names(KEPT),
}  # of streams, by `NetworkConfig.remat_policy`


class Outputs(NamedTuple):
    """Logits at the resolution of the image; their sigmoid is the map, 1 = in focus.

    Where the images are smaller than their arrays, the values outside them mean nothing.

    Attributes:
      streams: of the map M_n of every stream.
      fused: of FNet's map M_f, or of the mean of the streams' maps where there is no FNet.
      steps: after every recurrent step; none where there is no RRNet.
    """

    streams: Float[Array, "s b h w 1"]
    fused: Maps
    steps: Float[Array, "t b h w 1"]

    @property
    def logits(self) -> Maps:
        """Those of the final map: after the last recurrent step, or fused where there is none."""
        return self.steps[-1] if len(self.steps) else self.fused

    @property
    def focus_map(self) -> Maps:
        """The final map, 0..1, 1 = in focus."""
        return nn.sigmoid(self.logits)


class BTBNet(nn.Module):
    """Multi-stream bottom-top-bottom network with fusion and recurrent reconstruction.

    Source: Zhao, Zhao, Wang, Lu: "Defocus Blur Detection via Multi-Stream Bottom-Top-Bottom Fully
    Convolutional Network", CVPR 2018, section 3 and figure 2.

    Attributes:
      config: its settings.
      convolution: makes a convolution of so many features; another one must name its parameters alike.
    """

    config: NetworkConfig = NetworkConfig()
    convolution: Callable[..., nn.Module] = Convolution

    @nn.compact
    def __call__(self, images: Images, size: Sizes | None = None) -> Outputs:
        """Returns the logits of all maps.

        Args:
          images: RGB in sRGB encoding, 0..1, of any height and width from 1 up.
          size: true height and width of each image where its array is larger, None where they fill it.
        """
        config, parts = self.config, network_parts(self.config, self.convolution)
        stream = nn.remat(Stream, policy=_POLICIES[config.remat_policy]) if config.remat else Stream
        valid = None if size is None else valid_pixels((images.shape[1], images.shape[2]), size)
        images = zero_outside(images, valid)

        names = [stream_name(config, number) for number in range(len(config.scales))]
        modules = {name: stream(**parts, name=name) for name in dict.fromkeys(names)}
        logits = [
            run_stream(modules[name], images, size, scale=scale, normalisation=config.normalisation)
            for name, scale in zip(names, config.scales, strict=True)
        ]
        fused, steps = run_fusion(config, parts, logits, images, valid)
        return Outputs(jnp.stack(logits), fused, steps)


def network_parts(config: NetworkConfig, convolution: Callable[..., nn.Module] = Convolution) -> dict[str, Any]:
    """Returns what every part of the network is made with: its numbers of channels, and its convolutions."""
    precision = jax.lax.Precision[config.precision.upper()]
    return {
        "channels": config.channels,
        "convolution": functools.partial(convolution, dtype=jnp.dtype(config.dtype), precision=precision),
    }


def stream_name(config: NetworkConfig, number: int) -> str:
    """Returns what the parameters of a stream, counted from 0, are called."""
    return "stream" if config.share_streams else f"stream{number + 1}"


def run_fusion(
    config: NetworkConfig, parts: Mapping[str, Any], logits: Sequence[Maps], images: Images, valid: Valid | None
) -> tuple[Maps, Float[Array, "t b h w 1"]]:
    """Returns the logits of the fused map and those after every recurrent step; within a module of linen.

    Source: section 3.2 of the paper.

    Args:
      config: of the network.
      parts: of `network_parts`.
      logits: of the map of every stream, at the resolution of `images`.
      images: RGB, 0..1; zero outside `valid`.
      valid: where the arrays hold images, None where they are filled by them.
    """
    if config.use_fnet:
        fnet = nn.remat(FNet) if config.remat else FNet
        maps = zero_outside(nn.sigmoid(jnp.concatenate(logits, axis=-1)), valid)
        fused = fnet(**parts, name="fnet")(maps, images, valid)
    else:
        fused = logits_of_blend(functools.partial(jnp.mean, axis=0), jnp.stack(logits))
    if not config.use_rrnet:
        return fused, jnp.zeros((0, *fused.shape))
    start = zero_outside(nn.sigmoid(fused), valid)
    return fused, RRNet(config.num_steps, **parts, remat=config.remat, name="rrnet")(start, images, valid)


def run_stream(
    stream: Callable[[Images, Valid | None], Maps],
    images: Images,
    size: Sizes | None,
    *,
    scale: Fraction,
    normalisation: Normalisation,
) -> Maps:
    """Returns the logits of M_n at the resolution of `images`: resize, normalise, `stream`, resize back.

    Source: section 3.1 of the paper; the map of a stream is resized bilinearly to the input's resolution.
    Assumption: the input is resized bilinearly with anti-aliasing.
    """
    shape = images.shape[1], images.shape[2]
    small_shape = scaled_size(shape[0], scale), scaled_size(shape[1], scale)
    small_size = None if size is None else scaled_size(size, scale)
    valid = None if small_size is None else valid_pixels(small_shape, small_size)
    small = resize(images, small_shape, size=size, new_size=small_size)
    logits = stream(zero_outside(normalise(small, normalisation), valid), valid).astype(jnp.float32)
    if scale == 1:
        return logits
    return logits_of_blend(lambda maps: resize(maps, shape, size=small_size, new_size=size), logits)


def normalise(images: Images, normalisation: Normalisation) -> Images:
    """Returns RGB images of 0..1 as the trunk's weights expect them."""
    channels = images if normalisation.order == "rgb" else images[..., ::-1]
    mean, std = (jnp.asarray(values).reshape(1, 1, 1, 3) for values in (normalisation.mean, normalisation.std))
    return (channels * normalisation.scale - mean) / std


def logits_of_blend(
    blend: Callable[[Float[Array, "..."]], Float[Array, "..."]], logits: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns the logits of `blend(maps)`, for a blend that is a weighted mean, from the logits of the maps.

    The paper resizes and compares maps, and the loss needs logits.  Blending p and 1 - p apart,
    log(blend(p)) - log(blend(1 - p)) loses nothing where p rounds to 1, as log(p / (1 - p)) would.
    """
    tiny = jnp.finfo(jnp.float32).tiny
    focus, blur = (jnp.maximum(blend(nn.sigmoid(signed)), tiny) for signed in (logits, -logits))
    return jnp.log(focus) - jnp.log(blur)


def init_params(key: Array, config: NetworkConfig) -> dict[str, Any]:
    """Returns fresh parameters; they do not depend on the size of images or the number of steps.

    The distribution is that of `BTBNet.init`, but FNet and RRNet begin by passing maps on, see `passing_on`.  All
    kernels are cut from one draw of random numbers, because XLA takes a second or so to compile the generator of
    each, which makes a minute for three streams.

    Assumption: the last layers of a stream begin at a hundredth of He's values, so that its map is 1/2 everywhere.
    What the deep layers make of an image at first is noise to the map, and learning would begin by silencing it: the
    ReLUs of a whole layer then died, and all above them was lost.

    Args:
      key: of the random numbers.
      config: settings of the network.
    """
    shapes = jax.eval_shape(BTBNet(config).init, key, jnp.zeros((1, 8, 8, 3)))["params"]
    leaves, tree = jax.tree.flatten(shapes)
    sizes = [leaf.size if leaf.ndim == 4 else 0 for leaf in leaves]  # biases are 0
    ends = np.cumsum(sizes).tolist()

    @jax.jit
    def cut(numbers: Float[Array, " n"]) -> list[Array]:
        return [
            numbers[end - size : end].reshape(leaf.shape) * he_deviation(leaf.shape) if size else jnp.zeros(leaf.shape)
            for leaf, size, end in zip(leaves, sizes, ends, strict=True)
        ]

    params = jax.tree.unflatten(tree, cut(jax.random.normal(key, (ends[-1],))))
    for name in {stream_name(config, number) for number in range(len(config.scales))}:
        for last in ("down1", "side1"):
            params[name][last]["kernel"] *= _FIRST_MAPS
    if config.use_fnet:
        params["fnet"] = passing_on(params["fnet"], len(config.scales))
    if config.use_rrnet:
        params["rrnet"] = {"step": passing_on(params["rrnet"]["step"], 1)}
    return params
