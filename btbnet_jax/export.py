"""A network as one file that needs none of our code: StableHLO for images of any number and size, by `jax.export`.

The numbers of images, rows and columns stay symbols: the streams' sizes are integer arithmetic on the fractions of
their scales (`resize.scaled_size`), so one file holds for all images.  The parameters lie inside of it as constants, or
beside it in a weights file whose tensors are its first argument, by their names.

Images go in as programs have them, uint8 RGB in sRGB encoding; a map comes out for each, 0..1, 1 = in focus.
"""

import contextlib
import functools
import gc
import hashlib
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import export as jax_export
from jaxtyping import Array, Float32, UInt8

from btbnet_jax import __version__
from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import BTBNet
from btbnet_jax.resize import MAX_SIDE
from btbnet_jax.weights import Weights, flat, nested, save_weights
from btbnet_jax.writing import write_whole

Placement = Literal["inside", "beside"]

PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX = ".jax"


def focus_maps(
    config: NetworkConfig, params: Mapping[str, Any], images: UInt8[Array, "b h w 3"]
) -> Float32[Array, "b h w"]:
    """Returns the map of each image, 0..1, 1 = in focus.

    Args:
      config: of the network.
      params: of the network, nested.
      images: RGB in sRGB encoding, 0..255, of any height and width from 1 up.
    """
    outputs: Any = BTBNet(config).apply({"params": params}, images.astype(jnp.float32) / 255)
    return outputs.focus_map[..., 0]


def image_shape(config: NetworkConfig) -> jax.ShapeDtypeStruct:
    """Returns the type of uint8 images of any number, height and width: [b, h, w, 3], symbolic.

    Who calls the exported function with none, or with a side too long for a stream to resize exactly, gets an error.
    """
    longest = longest_side(config)
    bounds = (f"h <= {longest}", f"w <= {longest}")  # beside 1 or more, which JAX demands of every symbol
    return jax.ShapeDtypeStruct(jax_export.symbolic_shape("b, h, w, 3", constraints=bounds), jnp.uint8)


def longest_side(config: NetworkConfig) -> int:
    """Returns the longest side of an image in pixels, by the positions that its resizing can tell apart."""
    return math.floor(MAX_SIDE / max(1, *config.scales))


def exported(
    weights: Weights, *, params: Placement = "inside", platforms: Sequence[str] = DEFAULT_PLATFORMS
) -> jax_export.Exported:
    """Returns the exported network.

    Where the parameters are inside, it is called with the images; where they are beside it, with a flat dictionary of
    float32 arrays and the images.  In StableHLO's main function the parameters come in the order of their names, and
    the images last.

    Args:
      weights: of the network.
      params: where they go.
      platforms: that it can run on, one or more of `PLATFORMS`; none of them needs to be there.

    Raises:
      ValueError: a platform that is not known, or none.
    """
    if not platforms or any(platform not in PLATFORMS for platform in platforms):
        raise ValueError(f"platforms are one or more of {', '.join(PLATFORMS)}, not {', '.join(platforms) or 'none'}")
    config, images = weights.config, image_shape(weights.config)
    export = functools.partial(jax_export.export, platforms=platforms)
    with _reproducibly():
        if params == "inside":
            return export(jax.jit(lambda images: focus_maps(config, weights.params, images)))(images)
        return export(jax.jit(lambda named, images: focus_maps(config, nested(named), images)))(
            _shapes(weights), images
        )


def save_export(
    path: Path,
    weights: Weights,
    *,
    params: Placement = "inside",
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the exported network and what it is, and returns the paths of the files.

    Beside NAME.jax, which `jax.export.deserialize` reads, there are NAME.json, a description for people and programs,
    and NAME.safetensors where the parameters are beside it: a weights file in float32.  Each is written whole or not
    at all, the network last.

    Args:
      path: of the network, ends in ".jax".
      weights: of the network.
      params: where they go.
      platforms: that it can run on, see `exported`.
      overwrite: replace files that are there.

    Raises:
      FileExistsError: one of the files is there, and it is not to be replaced.
      ImportError: flatbuffers is missing.
      ValueError: another suffix, or a platform that is not known.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"an exported network ends in {SUFFIX}, not {path.suffix!r}: {path}")
    endings = (".safetensors", ".json", SUFFIX) if params == "beside" else (".json", SUFFIX)
    paths = [path.with_suffix(ending) for ending in endings]
    if not overwrite and (there := [str(one) for one in paths if one.exists()]):
        raise FileExistsError(f"there already: {', '.join(there)}; give another name, or overwrite (--overwrite)")
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError("jax.export writes by flatbuffers, which is missing: pip install 'btbnet_jax[export]'")
    data = bytes(exported(weights, params=params, platforms=platforms).serialize())
    path.parent.mkdir(parents=True, exist_ok=True)
    if params == "beside":
        save_weights(paths[0], weights._replace(storage="float32"), overwrite=overwrite)
    text = json.dumps(_description(path, data, weights, params, platforms), indent=2, ensure_ascii=False)
    write_whole(path.with_suffix(".json"), f"{text}\n".encode())
    write_whole(path, data)
    return paths[::-1]


def _description(
    path: Path, data: bytes, weights: Weights, params: Placement, platforms: Sequence[str]
) -> dict[str, Any]:
    """What the description beside an exported network says."""
    sides = f"h and w from 1 to {longest_side(weights.config)}"
    beside = {
        "file": path.with_suffix(".safetensors").name,
        "arguments": {name: f"float32 {list(shape.shape)}" for name, shape in sorted(_shapes(weights).items())},
    }
    return {
        "format": "btbnet_jax export",
        "version": "1",
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "written_by": {"btbnet_jax": __version__, "jax": jax.__version__},
        "platforms": list(platforms),
        "call": "call(images)" if params == "inside" else "call(parameters, images)",
        "images": f"uint8 [b, h, w, 3], RGB in sRGB encoding, 0..255; {sides}",
        "result": "float32 [b, h, w], 0..1, 1 = in focus, 0 = blurred",
        "training_size": weights.training_size,
        "parameters": {"placement": params, "sha256": weights.digest} | (beside if params == "beside" else {}),
        "licence": weights.licence,
        "config": weights.config.to_json(),
        "validation": weights.summary.get("validation"),
    }


@contextlib.contextmanager
def _reproducibly() -> Iterator[None]:
    """Keeps out of the exported bytes what is not the network's.

    That is the paths of this machine's source files, and when Python happens to collect garbage: JAX knows constants by
    weak references while it traces, and a collection in between changes their order.
    """
    name = "jax_traceback_in_locations_limit"
    limit, collects = getattr(jax.config, name), gc.isenabled()
    jax.config.update(name, 0)
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        jax.config.update(name, limit)


def _shapes(weights: Weights) -> dict[str, jax.ShapeDtypeStruct]:
    """The types of the parameters by their names."""
    return {name: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for name, leaf in flat(weights.params).items()}
