"""Released weights: one safetensors file with all that is needed to use them, and nothing in it that could be run.

Its metadata hold the configuration of the network, which includes the input normalisation, a summary of the training,
the licence, and a sha256 of all this and of every tensor.  Kernels can be stored in fewer bits, see `storage`; loaded,
they are float32 again.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from btbnet_jax.config import NetworkConfig
from btbnet_jax.digests import digest
from btbnet_jax.network import BTBNet
from btbnet_jax.storage import STORAGES, Storage, Tensors, restored, stored, stored_shapes
from btbnet_jax.writing import write_whole

VARIABLE = "BTBNET_WEIGHTS"
"""Environment variable that names a weights file."""

_FORMAT, _VERSION = "btbnet_jax weights", "1"
_MOST_STREAMS = 64  # that a file may ask to be made


class WeightsError(ValueError):
    """A weights file that cannot be used; the text says which and what is wrong with it."""


class Weights(NamedTuple):
    """Parameters, and what people have to know of them.

    Attributes:
      params: of `network.BTBNet`, float32.
      config: of the network.
      summary: of the training, JSON values: its configuration as "config", validation scores as "validation", ...
      licence: of the parameters.
      storage: the type that they are, or were, stored as.
    """

    params: dict[str, Any]
    config: NetworkConfig
    summary: dict[str, Any]
    licence: str
    storage: Storage = "float32"

    @property
    def digest(self) -> str:
        """The sha256 of the parameters, as checkpoints and the log of test images have it."""
        return digest(self.params)

    @property
    def training_size(self) -> int | None:
        """Height and width that the network was trained at, None where that is not known or there was none."""
        data = self.summary.get("config", {}).get("data")
        size = data.get("size") if isinstance(data, dict) else None
        return size if isinstance(size, int) and size > 0 else None


def save_weights(path: Path, weights: Weights, *, overwrite: bool = False) -> None:
    """Writes a weights file, whole or not at all.

    Args:
      path: ends in ".safetensors".
      weights: to store as their `storage` says.
      overwrite: replace a file that is there.

    Raises:
      FileExistsError: there is a file, and it is not to be replaced.
      ValueError: another suffix, or numbers that are not finite as they would be stored.
    """
    check_new(path, overwrite=overwrite)
    arrays = {name: np.asarray(leaf, np.float32) for name, leaf in flat(weights.params).items()}
    tensors = stored(arrays, weights.storage)
    if wrong := _not_finite(arrays) or _not_finite(tensors):
        raise ValueError(f"{wrong} has numbers that are not finite as {weights.storage}: {path} is not written")
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "storage": weights.storage,
        "config": json.dumps(weights.config.to_json()),
        "summary": json.dumps(weights.summary),
        "licence": weights.licence,
    }
    _write(path, tensors, metadata)


def state_licence(path: Path, licence: str) -> None:
    """Writes another licence into a weights file, and leaves every tensor as it is stored; errors as of `_read`."""
    tensors, metadata = _read(path)
    _write(path, tensors, metadata | {"licence": licence})


def check_new(path: Path, *, overwrite: bool = False) -> None:
    """Raises what `save_weights` would raise for the name of a file."""
    if path.suffix != ".safetensors":
        raise ValueError(f"a weights file ends in .safetensors, not {path.suffix!r}: {path}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: give another name, or overwrite it (--overwrite)")


def load_weights(path: Path) -> Weights:
    """Returns what a weights file holds, after all of it was checked.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: not a weights file of ours, damaged, or not those of the network that it describes.
    """
    tensors, metadata = _read(path)
    if metadata.get("sha256") != _sha256(tensors, metadata):
        raise WeightsError(f"{path} is damaged: its sha256 is not that recorded; get it again")
    try:
        described = _described(metadata)
    except (KeyError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its description cannot be read: {error}") from error
    shapes = jax.eval_shape(BTBNet(described.config).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    if problems := _differing(shapes, tensors, described.storage):
        listed = "\n  ".join(problems)
        raise WeightsError(f"{path} has not the parameters of the network that it describes:\n  {listed}")
    arrays = {name: restored(name, tensors) for name in flat(shapes)}
    if wrong := _not_finite(arrays):
        raise WeightsError(f"{path} has numbers that are not finite in {wrong}")
    return described._replace(params=nested(arrays))


def is_weights(path: Path) -> bool:
    """Whether a file says that it is one of ours; it may be damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == _FORMAT
    except (OSError, SafetensorError):
        return False


def find_weights(name: str | None = None) -> Path:
    """Returns the path of a weights file.

    It is looked for as a path, or as a name such as "btbnet-small" in the user's cache folder and in the package.
    Without one, the file that the environment variable `VARIABLE` names is taken, else the first of these folders'.

    Raises:
      FileNotFoundError: there is none; the message says where it was looked for, and how to get one.
    """
    wanted = name or os.environ.get(VARIABLE)
    if wanted and Path(wanted).is_file():
        return Path(wanted)
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            if not wanted or path.stem == wanted:
                return path
    known = sorted({path.stem for folder in folders() for path in folder.glob("*.safetensors")})
    listed = ", ".join(map(str, folders())) + (f", which have {', '.join(known)}" if known else "")
    which = f" {wanted}{'' if name else f' (which {VARIABLE} names)'}" if wanted else ""
    raise FileNotFoundError(
        f"no weights{which} found, as a file or in {listed}. Give the path of a weights file, or set {VARIABLE}"
        " to it. To make one: train a network (python train.py --flagfile=configs/cpu_small.flags, or make demo), then "
        "btbnet weights convert RUN weights.safetensors"
    )


def cache_folder() -> Path:
    """Returns the folder of this project in the user's cache; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "btbnet_jax"


def folders() -> list[Path]:
    """Returns where weights are looked for by name: the user's cache folder, then the package."""
    return [cache_folder(), Path(__file__).parent / "released"]


def differing_shapes(wanted: Any, found: Any, *, limit: int = 12) -> list[str]:
    """Returns which parameters are missing, unexpected or of another shape, a line each, `limit` of them at most."""
    shapes = [{name: tuple(np.shape(leaf)) for name, leaf in flat(tree).items()} for tree in (wanted, found)]
    problems = [
        f"{name}: {'missing' if got is None else list(got)}, wanted {'none' if want is None else list(want)}"
        for name in sorted(shapes[0] | shapes[1])
        if (want := shapes[0].get(name)) != (got := shapes[1].get(name))
    ]
    return [*problems[:limit], *([f"and {len(problems) - limit} more"] if len(problems) > limit else [])]


def flat(params: Any) -> dict[str, Any]:
    """Returns nested parameters by the names that a weights file has them under, "stream1/down1/kernel" and so on."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `flat` was given."""
    tree: dict[str, Any] = {}
    for name, array in named.items():
        *parents, last = name.split("/")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = array
    return tree


def _write(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(tensors, {**metadata, "sha256": _sha256(tensors, metadata)}))


def _read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors and the metadata of a file that says it is one of ours."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.lstrip().startswith(b"<"):
        raise WeightsError(f"{path} is a web page, not weights: the download failed; get it again")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull`")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dictionary
    except (SafetensorError, AttributeError) as error:  # the second for types that NumPy has not
        raise WeightsError(f"{path} is no safetensors file, or it is damaged or cut short: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise WeightsError(f"{path} holds tensors, but not weights of this project: use `btbnet weights convert`")
    if metadata.get("version") != _VERSION:
        raise WeightsError(
            f"{path} is of version {metadata.get('version')}, and {_VERSION} is known here: update btbnet_jax"
        )
    return tensors, metadata


def _described(metadata: Mapping[str, str]) -> Weights:
    """All but the parameters; KeyError, ValueError or RecursionError where it is not as `save_weights` writes it."""
    config, summary = (json.loads(metadata[name]) for name in ("config", "summary"))
    for part in (config, summary, summary.get("config", {}) if isinstance(summary, dict) else None):
        if not isinstance(part, dict):
            raise ValueError(f"names and values were expected, not {part!r:.40}")
    storage: Any = metadata["storage"]
    if storage not in STORAGES:
        raise ValueError(f"stored as {storage!r:.40}, not one of {', '.join(STORAGES)}")
    if isinstance(scales := config.get("scales"), list) and len(scales) > _MOST_STREAMS:
        raise ValueError(f"{len(scales)} streams, more than {_MOST_STREAMS}")
    return Weights({}, NetworkConfig.from_json(config), summary, metadata["licence"], storage)


def _differing(shapes: Any, tensors: Tensors, storage: Storage) -> list[str]:
    """What is not as the parameters of these shapes are stored, a line each."""
    wanted = stored_shapes(flat(shapes), storage)
    return differing_shapes(wanted, tensors) or [
        f"{name}: {tensors[name].dtype}, wanted {leaf.dtype}"
        for name, leaf in wanted.items()
        if tensors[name].dtype != leaf.dtype
    ]


def _not_finite(tensors: Tensors) -> str:
    """The names of the first tensors with NaN or infinity, empty where there is none."""
    return ", ".join([name for name, array in tensors.items() if not np.isfinite(array).all()][:5])


def _sha256(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    hasher = hashlib.sha256()
    hasher.update(json.dumps({key: metadata[key] for key in sorted(metadata) if key != "sha256"}).encode())
    for name, array in sorted(tensors.items()):
        hasher.update(f"{name} {array.dtype} {array.shape}\n".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()
