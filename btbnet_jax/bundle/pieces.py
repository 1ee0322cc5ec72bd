"""Brings parameters home: a weights file in pieces small enough to be handed out, and the file made of them again."""

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from btbnet_jax.bundle import limits
from btbnet_jax.bundle.limits import BundleError
from btbnet_jax.initial import weights_of
from btbnet_jax.storage import Storage
from btbnet_jax.weights import Weights, check_new, load_weights, save_weights, state_licence
from btbnet_jax.writing import write_whole

INDEX = "pieces.json"


def hand_out(source: Path, folder: Path, *, storage: Storage = "float16") -> str:
    """Writes what a run has learned into a folder: parameters alone, their average where the run keeps one, in pieces.

    Whatever type of numbers the run computed in, the network of the file computes in float32.  What was handed out
    there before is kept until all of the new is written.

    Args:
      source: run, checkpoint or weights file.
      folder: made if it does not exist.
      storage: of the kernels; the shared streams of the paper's width are 36 MB in half precision, and too large for
        `limits.MOST_WEIGHTS` in float32.

    Returns:
      What was written, in words.

    Raises:
      BundleError: it is over a limit.
      FileNotFoundError: there is no run, or it has saved nothing yet.
      CheckpointError: its best checkpoint is damaged.
    """
    weights = weights_of(source, licence="")
    weights = weights._replace(storage=storage, config=dataclasses.replace(weights.config, dtype="float32"))
    with tempfile.TemporaryDirectory() as workspace:
        file = Path(workspace, "whole.safetensors")
        save_weights(file, weights)
        whole = file.read_bytes()
    advice = "hand it out in fewer bits (--storage float16 or int8), or train with --share_streams"
    limits.check(f"weights in {storage}", len(whole), limits.MOST_WEIGHTS, advice)
    pieces = cut(whole)
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, piece in enumerate(pieces, 1):
        digest = hashlib.sha256(piece).hexdigest()
        name = f"{digest[:12]}.piece{number}"
        write_whole(folder / name, piece)
        names[name] = digest
    step = weights.summary.get("step")
    index = {"pieces": names, "sha256": hashlib.sha256(whole).hexdigest(), "bytes": len(whole), "step": step}
    write_whole(folder / INDEX, (json.dumps(index, indent=1) + "\n").encode())
    for path in folder.glob("*.piece*"):
        if path.name not in names:
            path.unlink()
    return (
        f"handed out: the parameters of {source} after {step} steps, {len(whole) / limits.MB:.2f} MB in {storage}, "
        f"{len(pieces)} pieces and {INDEX}, in {folder}"
    )


def cut(whole: bytes) -> list[bytes]:
    """Returns bytes as the fewest pieces of nearly the same length that the limits allow.

    Raises:
      BundleError: these are too many.
    """
    count = max(1, -(-len(whole) // limits.LARGEST_PIECE))
    if count > limits.MOST_PIECES:
        raise BundleError(
            f"{len(whole) / limits.MB:.2f} MB are {count} pieces of at most {limits.LARGEST_PIECE:,} bytes, and at "
            f"most {limits.MOST_PIECES} are allowed: hand it out in fewer bits (--storage)"
        )
    length = -(-len(whole) // count)
    return [whole[start : start + length] for start in range(0, len(whole), length)]


def join(folder: Path, path: Path, *, licence: str = "", overwrite: bool = False) -> Weights:
    """Writes the weights file whose pieces are in a folder, and returns what it holds.

    Args:
      folder: that `hand_out` filled.
      path: of the weights file, ends in ".safetensors".
      licence: of the weights, which the pieces do not state.
      overwrite: replace a file that is there.

    Raises:
      BundleError: a piece is missing or damaged.
      FileExistsError: there is a file, and it is not to be replaced.
      WeightsError: the pieces are whole and not those of a weights file.
    """
    check_new(path, overwrite=overwrite)
    index = _index(folder / INDEX)
    pieces = []
    for name, digest in index["pieces"].items():
        piece = folder / name
        if not piece.is_file():
            raise BundleError(f"{folder} lacks {name}, one of {len(index['pieces'])} pieces: copy all of them")
        pieces.append(piece.read_bytes())
        if hashlib.sha256(pieces[-1]).hexdigest() != digest:
            raise BundleError(f"{piece} is damaged: its sha256 is not that in {INDEX}; copy it again")
    whole = b"".join(pieces)
    if hashlib.sha256(whole).hexdigest() != index["sha256"]:
        raise BundleError(f"the pieces in {folder} are whole, but not in the order of {INDEX}: copy it again")
    with tempfile.TemporaryDirectory() as workspace:
        file = Path(workspace, "whole.safetensors")
        file.write_bytes(whole)
        if licence:
            state_licence(file, licence)
        weights = load_weights(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.read_bytes())
    return weights


def _index(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"there is no {path}, which says what the pieces are: name the folder that was handed out")
    try:
        index = json.loads(path.read_text("utf-8"))
        if not isinstance(index["pieces"], dict):
            raise TypeError("the pieces are no names with a sha256 each")
        if all(Path(name).name == name for name in index["pieces"]) and isinstance(index["sha256"], str):
            return index
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} cannot be read ({error!r}): copy it again") from error
    raise BundleError(f"{path} names files of other folders: it was not written by this project")
