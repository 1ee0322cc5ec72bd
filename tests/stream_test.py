import jax
import jax.numpy as jnp
import numpy as np

from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import Stream
from tests.reference_network import Params, apply, convolution, count, param_shapes, random_params

SMALL = Stream(NetworkConfig(width=1 / 32).channels)


def expected_logits(image: np.ndarray, params: Params) -> np.ndarray:
    """Figure 3 of the paper, written out."""
    trunk, x, outputs = params["trunk"], image, {}
    for block, layers in {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}.items():
        for layer in range(1, layers + 1):
            x = convolution(x, trunk[f"conv{block}_{layer}"])
        outputs[block] = x
    for block in (4, 3, 2):
        x = convolution(x, params[f"down{block}"]) + convolution(outputs[block], params[f"side{block}"])
    return convolution(x, params["down1"], relu=False) + convolution(outputs[1], params["side1"], relu=False)


def test_stream_has_the_papers_parameters():
    params = param_shapes(Stream(), jnp.zeros((1, 8, 8, 3)))
    down = [(512, 256), (256, 128), (128, 64), (64, 1)]  # from the top back to the bottom
    side = [(512, 256), (256, 128), (128, 64), (64, 1)]  # from the trunk's blocks 4, 3, 2, 1
    feedback = sum(9 * c_in * c_out + c_out for c_in, c_out in down + side)
    assert feedback == 3_098_626
    assert count(params) == 14_714_688 + feedback == 17_813_314
    for path, pairs in (("down", down), ("side", side)):
        shapes = [params[f"{path}{block}"]["kernel"].shape for block in (4, 3, 2, 1)]
        assert shapes == [(3, 3, *pair) for pair in pairs]


def test_stream_is_that_of_the_paper_in_numpy():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 7, 9, 3)).astype(np.float32)
    params = random_params(SMALL, jnp.asarray(images))
    logits = apply(SMALL, params, jnp.asarray(images))
    np.testing.assert_allclose(logits, [expected_logits(image, params) for image in images], atol=1e-5)


def test_a_tile_with_17_pixels_around_it_has_the_logits_of_the_whole_image():
    images = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (1, 50, 60, 3)), jnp.float32)
    params = random_params(SMALL, images)
    whole = apply(SMALL, params, images)
    top, left, side = 19, 21, 12
    tile = apply(SMALL, params, images[:, top - 17 : top + side + 17, left - 17 : left + side + 17])
    inner = tile[:, 17 : 17 + side, 17 : 17 + side]
    np.testing.assert_allclose(inner, whole[:, top : top + side, left : left + side], atol=1e-5)
    assert np.abs(tile[:, 0, 17:-17] - whole[:, top - 17, left : left + side]).max() > 1e-3  # where the border shows


def test_receptive_field_is_35_pixels():
    images = jnp.ones((1, 41, 41, 3))
    # Where all kernels are positive no ReLU cuts, and nothing cancels.
    params = jax.tree.map(jnp.abs, random_params(SMALL, images))
    gradient = jax.jit(jax.grad(lambda images: apply(SMALL, params, images)[0, 20, 20, 0]))(images)
    seen = np.asarray(gradient[0] > 0).all(axis=-1)
    expected = np.zeros((41, 41), bool)
    expected[20 - 17 : 20 + 18, 20 - 17 : 20 + 18] = True
    np.testing.assert_array_equal(seen, expected)
