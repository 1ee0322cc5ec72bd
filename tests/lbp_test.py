import jax.numpy as jnp
import numpy as np
from numpy import ndarray

from btbnet_jax.baselines import lbp

RNG = np.random.default_rng(0)


def code_of(levels: ndarray, y: int, x: int, threshold: float) -> int:
    """The rotation-invariant uniform pattern of one pixel, by its definition."""

    def at(row: float, column: float) -> float:
        top, left = int(np.floor(row)), int(np.floor(column))
        total = 0.0
        for r, weight in ((top, 1 - (row - top)), (top + 1, row - top)):
            for c, other in ((left, 1 - (column - left)), (left + 1, column - left)):
                inside = min(max(r, 0), levels.shape[0] - 1), min(max(c, 0), levels.shape[1] - 1)
                total += weight * other * levels[inside]
        return total

    angles = np.arange(8) * np.pi / 4
    # Rounded, as the sine of π is not quite 0.
    neighbours = [at(y + round(np.sin(angle), 9), x + round(np.cos(angle), 9)) for angle in angles]
    bits = [neighbour - levels[y, x] > threshold for neighbour in neighbours]
    changes = sum(bits[k] != bits[k - 1] for k in range(8))
    return sum(bits) if changes <= 2 else 9


def expected_map(image: ndarray, window: int) -> ndarray:
    levels = np.round(255 * (image.astype(np.float64) @ [0.299, 0.587, 0.114]))
    height, width = levels.shape
    codes = np.array([[code_of(levels, y, x, 0.016 * 255) for x in range(width)] for y in range(height)])
    sharp = np.pad(codes >= 6, window // 2, mode="edge")
    share = np.array([[sharp[y : y + window, x : x + window].mean() for x in range(width)] for y in range(height)])
    return (share - share.min()) / (share.max() - share.min())


def test_the_map_is_that_of_the_definition():
    image = (RNG.integers(0, 40, (14, 11, 3)) / 255).astype(np.float32)
    valid = jnp.ones((1, 14, 11, 1), bool)
    for windows in ((3,), (5, 9)):
        expected = np.mean([expected_map(image, window) for window in windows], axis=0)
        found = lbp(jnp.asarray(image)[None], valid, windows=windows)[0, ..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_differences_up_to_the_threshold_are_no_texture():
    noise = RNG.integers(0, 4, (1, 16, 16, 1)).repeat(3, axis=3) / 255
    image = jnp.asarray(0.5 + noise, jnp.float32).at[:, 8, 8].set(0.0)
    found = lbp(image, jnp.ones((1, 16, 16, 1), bool), windows=(3,))[0, ..., 0]
    assert found[8, 8] == 1
    assert (found[:6] == 0).all()
