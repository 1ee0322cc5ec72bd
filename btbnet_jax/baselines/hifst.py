"""HiFST: sharpness by sorted high frequencies of the gradient (Golestaneh and Karam 2017)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8
from numpy import ndarray

from btbnet_jax.baselines.windows import Border, Padded, Values, extended, grey, stretched
from btbnet_jax.types import Images, Maps, Valid

PATCHES = (7, 15, 31, 63)
NUM_LAYERS = sum(PATCHES) + 1
ENTROPY_WINDOW = 7


@jax.jit
def hifst(images: Images, valid: Valid) -> Maps:
    """Returns HiFST's map of each image, scaled to 0..1.

    Args:
      images: RGB in 0..1, rounded to 8 bits.
      valid: false on padding.

    Source: S. A. Golestaneh and L. J. Karam, "Spatially-varying blur detection based on multiscale fused and
      sorted transform coefficients of gradient magnitudes", CVPR 2017; constants, rounding and borders as in its
      authors' code, isalirezag/HiFST.
    """
    levels = _grey_levels(images, valid)
    gradient = jnp.where(valid, _gradient_magnitude(levels, valid), 0)
    layers = stretched(_smallest_high_frequencies(gradient[..., 0]), valid)
    highest = stretched(layers.max(axis=-1, keepdims=True), valid)
    weighted = highest * _local_entropy(highest, valid)
    guide = _smoothed(stretched(levels, valid), valid, 1.0, "zero")
    return stretched(_domain_transform(weighted, guide, valid), valid)


def _grey_levels(images: Images, valid: Valid) -> Values:
    """Luma of the image after a light blur, in levels of 8 bits."""
    channels = [jnp.round(255 * jnp.where(valid, images[..., k : k + 1], 0)) for k in range(3)]
    blurred = [jnp.round(_smoothed(channel, valid, 0.5, "nearest")) for channel in channels]
    return jnp.round(grey(jnp.concatenate(blurred, axis=-1)))


def _smoothed(values: Values, valid: Valid, sigma: float, border: Border) -> Values:
    """A Gaussian in a window of 3 × 3."""
    side = float(np.exp(-0.5 / sigma**2))
    weights = np.array([side, 1, side]) / (1 + 2 * side)
    return _filtered(extended(values, valid, 1, border), weights, weights)


def _gradient_magnitude(levels: Values, valid: Valid) -> Values:
    """Of Sobel's gradient."""
    padded, smooth, difference = extended(levels, valid, 1, "nearest"), np.array([1, 2, 1]), np.array([-1, 0, 1])
    return jnp.hypot(_filtered(padded, smooth, difference), _filtered(padded, difference, smooth))


def _filtered(padded: Padded, column: ndarray, row: ndarray) -> Values:
    """Correlation with the outer product of two filters of 3, without the outermost pixels."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    rows = sum(float(column[k]) * padded[:, k : k + height] for k in range(3))
    return sum(float(row[k]) * rows[:, :, k : k + width] for k in range(3))  # pyright: ignore


def _smallest_high_frequencies(gradient: Float[Array, "b h w"]) -> Float[Array, "b h w n"]:
    """The smallest `NUM_LAYERS` of the absolute high-frequency DCT coefficients of all patches around a pixel."""
    height, margin = gradient.shape[1], max(PATCHES) // 2

    def row_of(strip: Float[Array, "side W"]) -> Float[Array, "w n"]:
        coefficients = [
            _high_frequencies(strip[margin - side // 2 : margin + side // 2 + 1], side, margin) for side in PATCHES
        ]
        return -lax.top_k(-jnp.concatenate(coefficients, axis=1), NUM_LAYERS)[0]

    def layers_of(image: Float[Array, "h w"]) -> Float[Array, "h w n"]:
        padded = jnp.pad(image, margin)
        return lax.map(lambda row: row_of(lax.dynamic_slice_in_dim(padded, row, max(PATCHES))), jnp.arange(height))

    return lax.map(layers_of, gradient)


def _high_frequencies(strip: Float[Array, "side W"], side: int, margin: int) -> Float[Array, "w n"]:
    """Absolute DCT coefficients on and beyond the main anti-diagonal, of the patches along a strip."""
    basis = jnp.asarray(_dct_basis(side), strip.dtype)
    width = strip.shape[1] - 2 * margin
    columns = margin - side // 2 + jnp.arange(width)[:, None] + jnp.arange(side)[None]
    vertical = jnp.dot(basis, strip, precision="highest")[:, columns]
    both = jnp.einsum("uwx,vx->uvw", vertical, basis, precision="highest")
    high = np.add.outer(np.arange(side), np.arange(side)) >= side - 1
    return jnp.abs(both[np.nonzero(high)]).T


def _dct_basis(side: int) -> Float[ndarray, "side side"]:
    """The orthonormal DCT of type II, a frequency in each row."""
    frequency, place = np.arange(side)[:, None], np.arange(side)
    basis = np.sqrt(2 / side) * np.cos(np.pi * (2 * place + 1) * frequency / (2 * side))
    basis[0] /= np.sqrt(2)
    return basis


def _local_entropy(values: Values, valid: Valid) -> Values:
    """In bits, of the 8-bit levels in a window around each pixel, mirrored at the border."""
    side, area = ENTROPY_WINDOW, ENTROPY_WINDOW**2
    height, width = values.shape[1:3]
    padded = extended(jnp.round(255 * values), valid, side // 2, "mirror")
    window = jnp.stack([padded[:, y : y + height, x : x + width] for y in range(side) for x in range(side)]).astype(
        jnp.uint8
    )

    def added(total: Values, one: UInt8[Array, "b h w 1"]) -> tuple[Values, None]:
        return total - jnp.log2((window == one[None]).sum(axis=0) / area) / area, None

    return lax.scan(added, jnp.zeros_like(values), window)[0]


def _domain_transform(
    values: Values, guide: Values, valid: Valid, *, sigma_s: float = 15, sigma_r: float = 0.25, iterations: int = 3
) -> Values:
    """The recursive edge-preserving filter of Gastal and Oliveira (SIGGRAPH 2011), which stops at the border."""
    steps = {}
    for axis in (1, 2):
        before = lax.slice_in_dim(guide, 0, 1, axis=axis)
        distance = 1 + sigma_s / sigma_r * jnp.abs(jnp.diff(guide, axis=axis, prepend=before))
        # Nothing flows in from before the first pixel, nor back from the padding.
        steps[axis] = distance, valid & (lax.broadcasted_iota(jnp.int32, guide.shape, axis) > 0)
    for iteration in range(iterations):
        sigma = sigma_s * np.sqrt(3) * 2.0 ** (iterations - iteration - 1) / np.sqrt(4.0**iterations - 1)
        for axis in (2, 1):
            distance, flows = steps[axis]
            feedback = jnp.where(flows, jnp.exp(-np.sqrt(2) / sigma * distance), 0)
            values = _recursive(values, feedback, axis)
    return values


def _recursive(values: Values, feedback: Values, axis: int) -> Values:
    """Each value drawn to the one before it, then to the one after it, as strongly as `feedback` says."""

    def step(carry: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        value, weight = now
        carry = value + weight * (carry - value)
        return carry, carry

    moved, weights = (jnp.moveaxis(array, axis, 0) for array in (values, feedback))
    forward = lax.scan(step, jnp.zeros_like(moved[0]), (moved, weights))[1]
    later = jnp.concatenate([weights[1:], jnp.zeros_like(weights[:1])])
    back = lax.scan(step, jnp.zeros_like(moved[0]), (forward, later), reverse=True)[1]
    return jnp.moveaxis(back, 0, axis)
