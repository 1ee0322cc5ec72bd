import jax.numpy as jnp
import numpy as np
from numpy import ndarray
from scipy import fft, ndimage

from btbnet_jax.baselines import hifst
from btbnet_jax.baselines.hifst import NUM_LAYERS, PATCHES

RNG = np.random.default_rng(0)


def unit(values: ndarray) -> ndarray:
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread else np.zeros_like(values)


def gaussian(sigma: float) -> ndarray:
    weights = np.exp(-(np.arange(-1, 2) ** 2) / (2 * sigma**2))
    return np.outer(weights, weights) / weights.sum() ** 2


def layers_of(gradient: ndarray) -> ndarray:
    """The sorted coefficients of every pixel, one pixel after the other."""
    margin = max(PATCHES) // 2
    padded = np.pad(gradient, margin)
    layers = np.zeros((*gradient.shape, NUM_LAYERS))
    for y, x in np.ndindex(*gradient.shape):
        high = []
        for side in PATCHES:
            top, left = y + margin - side // 2, x + margin - side // 2
            coefficients = np.asarray(fft.dctn(padded[top : top + side, left : left + side], norm="ortho"))
            high += [abs(coefficients[u, v]) for u in range(side) for v in range(side - 1 - u, side)]
        layers[y, x] = np.sort(high)[:NUM_LAYERS]
    return layers


def entropy_of(window: ndarray) -> float:
    shares = np.unique(window, return_counts=True)[1] / window.size
    return float(-(shares * np.log2(shares)).sum())


def domain_transform(values: ndarray, guide: ndarray) -> ndarray:
    """By loops over columns, and over rows as the columns of the transposed image."""
    values = values.copy()
    for iteration in range(3):
        sigma = 15 * np.sqrt(3) * 2 ** (2 - iteration) / np.sqrt(4**3 - 1)
        for _ in range(2):
            distance = 1 + 15 / 0.25 * np.abs(np.diff(guide, axis=1))
            weight = np.exp(-np.sqrt(2) / sigma) ** distance
            for x in range(1, values.shape[1]):
                values[:, x] += weight[:, x - 1] * (values[:, x - 1] - values[:, x])
            for x in range(values.shape[1] - 2, -1, -1):
                values[:, x] += weight[:, x] * (values[:, x + 1] - values[:, x])
            values, guide = values.T.copy(), guide.T
    return values


def expected_map(image: ndarray) -> ndarray:
    """HiFST by its description, in float64."""
    levels = np.round(255.0 * image)
    blurred = [np.round(ndimage.correlate(levels[..., k], gaussian(0.5), mode="nearest")) for k in range(3)]
    grey = np.round(np.stack(blurred, axis=-1) @ [0.299, 0.587, 0.114])
    gradient = np.hypot(ndimage.sobel(grey, 0, mode="nearest"), ndimage.sobel(grey, 1, mode="nearest"))
    layers = layers_of(gradient)
    highest = unit(np.max([unit(layers[..., k]) for k in range(NUM_LAYERS)], axis=0))
    padded = np.pad(np.round(255 * highest), 3, mode="symmetric")
    entropy = np.array(
        [[entropy_of(padded[y : y + 7, x : x + 7]) for x in range(grey.shape[1])] for y in range(grey.shape[0])]
    )
    guide = ndimage.correlate(unit(grey), gaussian(1.0), mode="constant")
    return unit(domain_transform(highest * entropy, guide))


def test_the_map_is_that_of_the_description():
    sharp = RNG.random((20, 26, 3))
    image = np.where(np.arange(26)[None, :, None] < 13, sharp, ndimage.gaussian_filter(sharp, (2, 2, 0)))
    image = np.round(255 * image) / 255
    found = np.asarray(hifst(jnp.asarray(image, jnp.float32)[None], jnp.ones((1, 20, 26, 1), bool)))[0, ..., 0]
    # Rounding to levels can fall to either side in float32, which moves single entropies a little.
    difference = np.abs(found - expected_map(image))
    assert np.median(difference) < 1e-3
    assert difference.max() < 0.03
