import dataclasses
import re
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from btbnet_jax.compiler import compiler_options
from btbnet_jax.config import NetworkConfig, Normalisation, TrainConfig, paper_scales
from btbnet_jax.losses import joint_loss
from btbnet_jax.network import BTBNet, FNet, Outputs, RRNet, Stream, init_params
from btbnet_jax.network.btbnet import logits_of_blend, normalise, run_stream
from btbnet_jax.resize import valid_pixels
from btbnet_jax.training import init_state, make_train_step
from btbnet_jax.types import Batch
from tests.reference_network import Params, apply, count, param_shapes, random_params, sigmoid

RNG = np.random.default_rng(0)
SMALL = NetworkConfig(scales=(Fraction(1), Fraction(3, 5)), width=1 / 16, precision="highest")
IMAGES = jnp.asarray(RNG.uniform(size=(3, 9, 12, 3)), jnp.float32)
SIZES = jnp.asarray([(9, 12), (5, 7), (0, 0)])
MASKS = jnp.asarray(RNG.uniform(size=(3, 9, 12, 1)), jnp.float32)

forward = jax.jit(BTBNet(SMALL).apply)

FNET_PARAMS = 151_745  # for three streams; every one more or less is an input channel of the first convolution


def output_shapes(config: NetworkConfig, *shape: int) -> Outputs:
    images = jnp.zeros((*shape, 3))
    return jax.eval_shape(BTBNet(config).init_with_output, jax.random.key(0), images)[0]


@pytest.fixture(scope="module")
def params() -> Params:
    return random_params(BTBNet(SMALL), IMAGES)


@pytest.fixture(scope="module")
def outputs(params: Params) -> Outputs:
    return forward({"params": params}, IMAGES)


def gradient(config: NetworkConfig, params: Params) -> Params:
    """Of the joint loss of three images, the last of which is a place that an incomplete batch leaves empty."""

    def loss(params: Params) -> jax.Array:
        outputs = apply(BTBNet(config), params, IMAGES, SIZES)
        return joint_loss(outputs, MASKS, valid_pixels((9, 12), SIZES), config=TrainConfig().loss)[0]

    return jax.jit(jax.grad(loss), compiler_options=compiler_options())(params)


@pytest.mark.parametrize(("share", "expected"), [(False, 53_742_280), (True, 18_115_652)])
def test_network_has_the_papers_parameters(share: bool, expected: int):
    stream, rrnet = 17_813_314, 150_593  # as their own tests explain
    assert (1 if share else 3) * stream + FNET_PARAMS + rrnet == expected
    assert count(param_shapes(BTBNet(NetworkConfig(share_streams=share)), jnp.zeros((1, 8, 8, 3)))) == expected


def test_parameters_have_the_names_that_files_refer_to():
    params = param_shapes(BTBNet(), jnp.zeros((1, 8, 8, 3)))
    assert sorted(params) == ["fnet", "rrnet", "stream1", "stream2", "stream3"]
    feedback = [f"{path}{block}" for path in ("down", "side") for block in (1, 2, 3, 4)]
    assert sorted(params["stream1"]) == [*feedback, "trunk"]
    layers = [f"conv{n}" for n in (1, 2, 3, 4)]
    assert (sorted(params["fnet"]), sorted(params["rrnet"]), sorted(params["rrnet"]["step"])) == (
        layers,
        ["step"],
        layers,
    )


@pytest.mark.parametrize(
    "scales", [*map(paper_scales, (1, 2, 3, 4)), (Fraction(1, 4), Fraction(1, 8), Fraction(3, 2))], ids=str
)
def test_every_stream_of_any_scales_gives_a_map_of_the_images_size(scales: tuple[Fraction, ...]):
    config = NetworkConfig(scales=scales, num_steps=2)
    shapes = output_shapes(config, 2, 5, 7)
    assert shapes.streams.shape == (len(scales), 2, 5, 7, 1)
    assert shapes.fused.shape == (2, 5, 7, 1)
    assert shapes.steps.shape == (2, 2, 5, 7, 1)
    fnet = param_shapes(BTBNet(config), jnp.zeros((1, 5, 7, 3)))["fnet"]
    assert count(fnet) == FNET_PARAMS + (len(scales) - 3) * 9 * 64


def test_parameters_depend_neither_on_the_size_of_images_nor_on_the_number_of_steps():
    expected = param_shapes(BTBNet(NetworkConfig()), jnp.zeros((1, 8, 8, 3)))
    assert param_shapes(BTBNet(NetworkConfig()), jnp.zeros((2, 1, 3, 3))) == expected
    assert param_shapes(BTBNet(NetworkConfig(num_steps=0)), jnp.zeros((1, 8, 8, 3))) == expected


def test_the_papers_network_passes_forward_and_trains_one_step_at_320_pixels():
    shapes = output_shapes(NetworkConfig(), 1, 320, 320)
    assert [logits.shape for logits in shapes] == [(3, 1, 320, 320, 1), (1, 320, 320, 1), (3, 1, 320, 320, 1)]
    config = TrainConfig(network=NetworkConfig(precision="highest"))  # direct convolutions, which are soon traced
    image, mask = np.zeros((1, 320, 320, 3), np.uint8), np.zeros((1, 320, 320, 1), np.uint8)
    batch = Batch(image, mask, np.full((1, 2), 320, np.int32), np.zeros(1, np.int32))

    state = jax.eval_shape(lambda: init_state(config))
    step: Any = make_train_step(config)
    after, metrics = step.eval_shape(state, batch)
    assert count(after.params) == 53_742_280
    assert after.params == state.params
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize(("use_fnet", "use_rrnet"), [(False, True), (True, False)])
def test_parts_that_are_left_out_leave_no_parameters(use_fnet: bool, use_rrnet: bool):
    config = NetworkConfig(use_fnet=use_fnet, use_rrnet=use_rrnet)
    parts = {name for name in param_shapes(BTBNet(config), jnp.zeros((1, 4, 4, 3))) if "stream" not in name}
    assert parts == {name for name, used in (("fnet", use_fnet), ("rrnet", use_rrnet)) if used}
    assert output_shapes(config, 1, 4, 4).steps.shape == (3 * use_rrnet, 1, 4, 4, 1)


def test_network_is_made_of_its_parts(params: Params, outputs: Outputs):
    first = apply(Stream(SMALL.channels), params["stream1"], normalise(IMAGES, SMALL.normalisation))
    np.testing.assert_allclose(outputs.streams[0], first, atol=1e-5)
    maps = jnp.concatenate([jax.nn.sigmoid(logits) for logits in outputs.streams], axis=-1)
    fused = apply(FNet(SMALL.channels), params["fnet"], maps, IMAGES)
    np.testing.assert_allclose(outputs.fused, fused, atol=1e-5)
    steps = apply(RRNet(3, SMALL.channels), params["rrnet"], jax.nn.sigmoid(outputs.fused), IMAGES)
    np.testing.assert_allclose(outputs.steps, steps, atol=1e-5)


def test_final_map_is_that_of_the_last_step(outputs: Outputs):
    np.testing.assert_array_equal(outputs.logits, outputs.steps[2])
    np.testing.assert_allclose(outputs.focus_map, sigmoid(np.asarray(outputs.steps[2])), rtol=1e-5)


def test_mean_of_the_maps_takes_the_place_of_fnet(params: Params):
    config = dataclasses.replace(SMALL, use_fnet=False, use_rrnet=False)
    outputs = apply(BTBNet(config), {name: params[name] for name in ("stream1", "stream2")}, IMAGES)
    expected = sigmoid(np.asarray(outputs.streams)).mean(axis=0)
    np.testing.assert_allclose(outputs.focus_map, expected, rtol=1e-5)


def test_shared_streams_are_separate_ones_of_equal_parameters(params: Params):
    shared = {"stream": params["stream1"], "fnet": params["fnet"], "rrnet": params["rrnet"]}
    separate = params | dict.fromkeys(("stream1", "stream2"), params["stream1"])
    network = BTBNet(dataclasses.replace(SMALL, share_streams=True))
    for logits, expected in zip(apply(network, shared, IMAGES), forward({"params": separate}, IMAGES), strict=True):
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_padded_images_of_any_size_give_what_they_give_alone():
    config = dataclasses.replace(SMALL, scales=paper_scales(4), num_steps=2)
    params = random_params(BTBNet(config), IMAGES, seed=1)
    sizes = [(5, 8), (1, 6), (1, 1)]
    images = [RNG.uniform(size=(*size, 3)).astype(np.float32) for size in sizes]
    padded = np.full((len(sizes), 7, 9, 3), np.nan, np.float32)
    for array, image in zip(padded, images, strict=True):
        array[: image.shape[0], : image.shape[1]] = image
    batch = apply(BTBNet(config), params, jnp.asarray(padded), jnp.asarray(sizes))
    for n, (image, (height, width)) in enumerate(zip(images, sizes, strict=True)):
        alone = apply(BTBNet(config), params, jnp.asarray(image[np.newaxis]))
        for together, expected in zip(batch, alone, strict=True):
            result = np.asarray(together)[..., n : n + 1, :height, :width, :]
            np.testing.assert_allclose(result, expected, atol=1e-5, err_msg=f"{height}x{width}")


@pytest.fixture(scope="module")
def gradients(params: Params) -> Params:
    return gradient(SMALL, params)


@pytest.mark.parametrize("start", ["random", "fresh"])
def test_every_parameter_learns(gradients: Params, start: str):
    if start == "fresh":  # where FNet and RRNet pass maps on
        gradients = gradient(SMALL, init_params(jax.random.key(0), SMALL))
    norms = jax.tree.map(jnp.linalg.norm, jax.tree.map(jnp.ravel, gradients))
    wrong = [jax.tree_util.keystr(path) for path, norm in jax.tree.leaves_with_path(norms) if not 0 < norm < np.inf]
    assert wrong == []


@pytest.mark.parametrize("policy", ["all", "half"])
def test_rematerialisation_changes_no_gradient(params: Params, gradients: Params, policy: Any):
    config = dataclasses.replace(SMALL, remat=True, remat_policy=policy)
    again = gradient(config, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), again, gradients)


def test_rematerialisation_wraps_both_streams_fnet_and_the_recurrent_step(params: Params):
    network = BTBNet(dataclasses.replace(SMALL, remat=True))
    program = str(jax.make_jaxpr(lambda: network.apply({"params": params}, IMAGES))())
    assert len(re.findall(r"\b(checkpoint|remat\d?)\[", program)) == 2 + 1 + 1  # the name depends on JAX's version


def test_precision_reaches_every_convolution(params: Params):
    program = forward.lower({"params": params}, IMAGES).as_text()
    convolutions = [line for line in program.splitlines() if "stablehlo.convolution" in line]
    # The recurrent step is written down once, or by newer versions of JAX as often as it is applied.
    assert len(convolutions) - (2 * (13 + 8) + 4) in (4, 4 * SMALL.num_steps)
    assert all("precision_config = [#stablehlo<precision HIGHEST>" in line for line in convolutions)


def test_bfloat16_is_close_to_float32(params: Params, outputs: Outputs):
    half = apply(BTBNet(dataclasses.replace(SMALL, dtype="bfloat16")), params, IMAGES)
    assert {logits.dtype for logits in half} == {jnp.dtype("float32")}
    np.testing.assert_allclose(half.focus_map, outputs.focus_map, atol=0.03)
    assert float(jnp.max(jnp.abs(half.streams - outputs.streams))) > 1e-4  # it has been used


def test_exported_network_takes_images_of_any_size(params: Params, outputs: Outputs):
    b, h, w = export.symbolic_shape("b, h, w")
    shapes = jax.eval_shape(lambda: {"params": params}), jax.ShapeDtypeStruct((b, h, w, 3), jnp.float32)
    exported = export.export(jax.jit(lambda variables, images: forward(variables, images).logits))(*shapes)
    np.testing.assert_allclose(exported.call({"params": params}, IMAGES), outputs.logits, atol=1e-5)


def test_images_are_normalised_as_imagenet_was():
    image = jnp.asarray([1.0, 0.5, 0.0]).reshape(1, 1, 1, 3)
    result = normalise(image, Normalisation()).ravel()
    np.testing.assert_allclose(result, [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, -0.406 / 0.225], rtol=1e-6)


def test_images_are_normalised_as_caffe_did():
    caffe = Normalisation(order="bgr", scale=255.0, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0))
    image = jnp.asarray([1.0, 0.5, 0.0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(normalise(image, caffe).ravel(), [-103.939, 127.5 - 116.779, 255 - 123.68], rtol=1e-6)


def test_a_stream_sees_the_small_image_and_its_map_is_enlarged():
    plain = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    @jax.jit
    def seen_and_returned(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen = []

        def stream(images: jax.Array, valid: jax.Array | None) -> jax.Array:
            seen.append(images)
            return 4 * images[..., :1]

        logits = run_stream(stream, images, None, scale=Fraction(1, 3), normalisation=plain)
        return seen[0], jax.nn.sigmoid(logits)

    small, focus_map = seen_and_returned(IMAGES)
    np.testing.assert_allclose(small, jax.image.resize(IMAGES, (3, 3, 4, 3), "bilinear"), atol=1e-6)
    expected = jax.image.resize(sigmoid(np.asarray(4 * small[..., :1])), (3, 9, 12, 1), "bilinear")
    np.testing.assert_allclose(focus_map, expected, atol=1e-6)


def test_logits_survive_a_blend_where_their_maps_round_to_0_or_1():
    logits = jnp.asarray([-60.0, -5.0, 0.0, 5.0, 60.0])
    np.testing.assert_allclose(logits_of_blend(lambda maps: maps, logits), logits, rtol=1e-6, atol=1e-6)


def test_logits_of_a_mean_are_those_of_the_mean_map():
    # Half of 1 and half of a half are three quarters, whose odds are 3.
    logits = logits_of_blend(lambda maps: jnp.mean(maps, keepdims=True), jnp.asarray([60.0, 0.0]))
    np.testing.assert_allclose(logits, [np.log(3)], rtol=1e-6)


def test_a_blend_of_certain_maps_has_finite_logits_and_gradients():
    logits, gradient = jax.value_and_grad(lambda x: jnp.sum(logits_of_blend(lambda m: m, x)))(jnp.asarray([1e4]))
    assert 80 < float(logits) < 90
    assert bool(jnp.isfinite(gradient).all())
