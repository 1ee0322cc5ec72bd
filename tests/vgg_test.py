import jax
import jax.numpy as jnp
import pytest

from btbnet_jax.network import Trunk
from tests.reference_network import count, param_shapes

# Simonyan & Zisserman 2015, table 1, column D: input and output channels of the 13 convolutions.
VGG16 = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
VGG16 += [(256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)]


def test_trunk_has_the_parameters_of_the_13_convolutions_of_vgg16():
    params = param_shapes(Trunk(), jnp.zeros((1, 8, 8, 3)))
    assert [params[name]["kernel"].shape for name in sorted(params)] == [(3, 3, *channels) for channels in VGG16]
    assert count(params) == sum(9 * c_in * c_out + c_out for c_in, c_out in VGG16) == 14_714_688


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (320, 320)])
def test_every_block_keeps_height_and_width(shape: tuple[int, int]):
    images = jnp.zeros((1, *shape, 3))
    blocks, _ = jax.eval_shape(Trunk().init_with_output, jax.random.key(0), images)
    assert [block.shape for block in blocks] == [(1, *shape, channels) for channels in (64, 128, 256, 512, 512)]


def test_activations_neither_vanish_nor_explode_at_the_start():
    trunk = Trunk(lambda paper: 64)
    images = jax.random.normal(jax.random.key(0), (1, 28, 28, 3))
    blocks, _ = trunk.init_with_output(jax.random.key(1), images)
    # Of pixels that no border reaches. Initialised by LeCun's rule they would halve at every layer, to 1e-4.
    mean_squares = [float(jnp.mean(jnp.square(block[:, 13:-13, 13:-13]))) for block in blocks]
    assert min(mean_squares) > 0.2
    assert max(mean_squares) < 5
