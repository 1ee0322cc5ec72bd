import jax.numpy as jnp
import numpy as np

from btbnet_jax.baselines import svd

RNG = np.random.default_rng(0)


def test_the_map_is_that_of_numpy_s_singular_values():
    image = RNG.random((9, 12, 3)).astype(np.float32)
    padded = np.pad(image.astype(np.float64) @ [0.299, 0.587, 0.114], 2, mode="symmetric")
    expected = np.zeros((9, 12))
    for y, x in np.ndindex(9, 12):
        values = np.linalg.svd(padded[y : y + 5, x : x + 5], compute_uv=False)
        expected[y, x] = values[2:].sum() / values.sum()
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = svd(jnp.asarray(image)[None], jnp.ones((1, 9, 12, 1), bool), window=5, num_largest=2)
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-5)
