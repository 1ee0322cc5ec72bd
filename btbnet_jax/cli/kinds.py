"""What ``btbnet detect`` writes for a photograph."""

import argparse
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from btbnet_jax.detect import Detection, Plane
from btbnet_jax.images import Photograph, encode_png, encode_png16, overlay, quantise, side_by_side

Drawing = Callable[[Photograph, Detection, argparse.Namespace], bytes]


def as_asked(focus_map: Plane, options: argparse.Namespace) -> Plane:
    """Returns a map with white where it was asked for."""
    return 1 - focus_map if options.invert else focus_map


def _map(_: Photograph, detection: Detection, options: argparse.Namespace) -> bytes:
    return encode_png(quantise(as_asked(detection.focus_map, options)))


def _map16(_: Photograph, detection: Detection, options: argparse.Namespace) -> bytes:
    return encode_png16(as_asked(detection.focus_map, options))


def _array(_: Photograph, detection: Detection, options: argparse.Namespace) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, as_asked(detection.focus_map, options), allow_pickle=False)
    return buffer.getvalue()


def _mask(_: Photograph, detection: Detection, options: argparse.Namespace) -> bytes:
    mask = detection.mask(options.threshold) != options.invert
    return encode_png(np.where(mask, np.uint8(255), np.uint8(0)))


def _overlay(photograph: Photograph, detection: Detection, options: argparse.Namespace) -> bytes:
    return encode_png(overlay(photograph.image, as_asked(detection.focus_map, options)))


def _side(photograph: Photograph, detection: Detection, options: argparse.Namespace) -> bytes:
    return encode_png(side_by_side(photograph.image, as_asked(detection.focus_map, options)))


class Kind(NamedTuple):
    """What is written for a photograph."""

    ending: str
    draw: Drawing
    text: str


KINDS = {
    "map": Kind("_focus.png", _map, "8-bit grey PNG"),
    "map16": Kind("_focus16.png", _map16, "16-bit grey PNG"),
    "npy": Kind("_focus.npy", _array, "NumPy array, float32, 0..1"),
    "mask": Kind("_mask.png", _mask, "black and white at --threshold"),
    "overlay": Kind("_overlay.png", _overlay, "the photograph, tinted where it is blurred"),
    "side": Kind("_side.png", _side, "the photograph beside its map"),
}
