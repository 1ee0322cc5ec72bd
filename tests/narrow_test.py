import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.network.narrow import columns_at_a_time, narrow_convolution
from tests.reference_network import convolution, random_features, random_layer


@pytest.mark.parametrize("columns", [1, 2, 3, 16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 17), (6, 32)])
def test_convolution_is_that_of_float64(shape: tuple[int, int], columns: int):
    x, params = random_features(2, *shape, 5), random_layer((5, 3))
    found = narrow_convolution(jnp.asarray(x), params["kernel"], columns)
    expected = [convolution(image, params, relu=False) for image in x]
    np.testing.assert_allclose(np.asarray(found) + params["bias"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "columns"), [((8, 1), 16), ((3, 8), 2), ((16, 5), 3), ((8, 16), 1), ((16, 64), 1), ((17, 1), 1)]
)
def test_columns_fill_a_register_where_channels_are_few(channels: tuple[int, int], columns: int):
    assert columns_at_a_time(*channels) == columns
