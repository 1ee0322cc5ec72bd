from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.config import LossConfig
from btbnet_jax.losses import Loss, cross_entropy, joint_loss, masked_mean, mean_squared_error, overlap_loss
from btbnet_jax.network import Outputs
from tests.reference_network import sigmoid

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (2, 4, 5, 1)).astype(np.float32)
MASKS = RNG.uniform(size=(2, 4, 5, 1)).astype(np.float32)
VALID = RNG.uniform(size=(2, 4, 5, 1)) < 0.7


def device(*arrays: np.ndarray) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(array) for array in arrays)


def expected_loss(kind: str, logits: np.ndarray) -> float:
    """By the formulas on maps, in float64, over the valid pixels."""
    p, g = sigmoid(logits)[VALID], MASKS[VALID].astype(np.float64)
    losses = {
        "cross_entropy": -g * np.log(p) - (1 - g) * np.log(1 - p),
        "mean_squared_error": np.square(p - g),
    }
    return float(losses[kind].mean())


def test_cross_entropy_is_that_of_the_maps():
    loss = cross_entropy(*device(LOGITS, MASKS, VALID))
    np.testing.assert_allclose(loss, expected_loss("cross_entropy", LOGITS), rtol=1e-6)


def test_mean_squared_error_is_that_of_the_maps():
    loss = mean_squared_error(*device(LOGITS, MASKS, VALID))
    np.testing.assert_allclose(loss, expected_loss("mean_squared_error", LOGITS), rtol=1e-5)


def test_an_undecided_pixel_costs_the_logarithm_of_two():
    zeros, ones, valid = jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1), bool)
    np.testing.assert_allclose(cross_entropy(zeros, ones, valid), 0.6931472, rtol=1e-6)
    np.testing.assert_allclose(mean_squared_error(zeros, ones, valid), 0.25)


@pytest.mark.parametrize(("logit", "mask", "expected"), [(200.0, 1.0, 0.0), (200.0, 0.0, 200.0), (-200.0, 1.0, 200.0)])
def test_cross_entropy_is_exact_where_the_map_rounds_to_0_or_1(logit: float, mask: float, expected: float):
    pixel = (1, 1, 1, 1)
    loss = cross_entropy(jnp.full(pixel, logit), jnp.full(pixel, mask), jnp.ones(pixel, bool))
    np.testing.assert_allclose(loss, expected, atol=1e-30)


def test_mean_is_over_the_valid_pixels_of_the_whole_batch():
    values = jnp.asarray([1.0, 2.0, 3.0, 100.0, 6.0, 100.0]).reshape(2, 1, 3, 1)
    valid = jnp.asarray([True, True, True, False, True, False]).reshape(2, 1, 3, 1)
    assert masked_mean(values, valid) == (1 + 2 + 3 + 6) / 4


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error, overlap_loss])
def test_padding_changes_neither_loss_nor_gradient(loss: Loss):
    value, gradient = jax.value_and_grad(loss)(*device(LOGITS, MASKS, VALID))
    garbage = device(np.where(VALID, LOGITS, np.nan), np.where(VALID, MASKS, 7), VALID)
    np.testing.assert_allclose(loss(*garbage), value, rtol=1e-7)
    finite = device(np.where(VALID, LOGITS, 50), np.where(VALID, MASKS, 7), VALID)
    np.testing.assert_allclose(jax.grad(loss)(*finite), gradient, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient) != 0, VALID)


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error, overlap_loss])
def test_a_batch_without_valid_pixels_costs_nothing_and_teaches_nothing(loss: Loss):
    value, gradient = jax.value_and_grad(loss)(*device(LOGITS, MASKS, np.zeros_like(VALID)))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(LOGITS))


def expected_overlap(logits: np.ndarray) -> float:
    """By areas, image by image, in float64: those of both polarities, each with a hundredth of the image more."""
    losses = []
    for logit, mask, valid in zip(logits, MASKS, VALID, strict=True):
        p, g = sigmoid(logit)[valid], mask[valid].astype(np.float64)
        more = 0.01 * valid.sum()
        parts = [((a * b).sum() + more) / ((a + b - a * b).sum() + more) for a, b in ((p, g), (1 - p, 1 - g))]
        losses.append(1 - np.mean(parts))
    return float(np.mean(losses))


def test_overlap_is_that_of_the_areas_of_maps_and_masks():
    np.testing.assert_allclose(overlap_loss(*device(LOGITS, MASKS, VALID)), expected_overlap(LOGITS), rtol=1e-5)


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_overlap_rewards_decisions_also_where_all_or_nothing_is_in_focus(truth: float):
    masks, valid = jnp.full((1, 8, 8, 1), truth), jnp.ones((1, 8, 8, 1), bool)
    decided, hedged, wrong = (
        float(overlap_loss(jnp.full(masks.shape, logit * (2 * truth - 1)), masks, valid))
        for logit in (20.0, 1.0, -20.0)
    )
    assert decided < 1e-6
    assert decided < hedged < wrong
    np.testing.assert_allclose(wrong, 1 - 0.01 / 1.01, rtol=1e-4)


def test_a_map_is_as_good_as_its_negative_for_the_negative_mask():
    logits, masks, valid = device(LOGITS, MASKS, VALID)
    np.testing.assert_allclose(overlap_loss(-logits, 1 - masks, valid), overlap_loss(logits, masks, valid), rtol=1e-6)


STREAMS = RNG.normal(size=(3, 2, 4, 5, 1)).astype(np.float32)
STEPS = RNG.normal(size=(3, 2, 4, 5, 1)).astype(np.float32)


def joint(config: LossConfig, num_steps: int = 3) -> tuple[float, dict[str, float]]:
    outputs = Outputs(*device(STREAMS, LOGITS, STEPS[:num_steps]))
    total, terms = joint_loss(outputs, *device(MASKS, VALID), config=config)
    return float(total), {name: float(term) for name, term in terms.items()}


@pytest.mark.parametrize("kind", ["cross_entropy", "mean_squared_error"])
def test_the_papers_joint_loss_is_that_of_the_final_map_and_of_all_streams(
    kind: Literal["cross_entropy", "mean_squared_error"],
):
    final, *streams = (expected_loss(kind, logits) for logits in (STEPS[2], *STREAMS))
    np.testing.assert_allclose(joint(LossConfig(kind=kind))[0], final + sum(streams), rtol=1e-5)


def test_every_stream_has_its_weight():
    final, *streams = (expected_loss("cross_entropy", logits) for logits in (STEPS[2], *STREAMS))
    total, _ = joint(LossConfig(stream_weights=(0.5, 0.0, 2.0)))
    np.testing.assert_allclose(total, final + 0.5 * streams[0] + 2 * streams[2], rtol=1e-6)


def test_one_weight_is_that_of_all_streams():
    assert joint(LossConfig(stream_weights=(0.3,))) == joint(LossConfig(stream_weights=(0.3, 0.3, 0.3)))


def test_maps_on_the_way_enter_with_weights_of_their_own():
    final, fused, *steps = (expected_loss("cross_entropy", logits) for logits in (STEPS[2], LOGITS, *STEPS[:2]))
    total, _ = joint(LossConfig(stream_weights=(0.0,), fnet_weight=0.25, step_weight=0.5))
    np.testing.assert_allclose(total, final + 0.25 * fused + 0.5 * sum(steps), rtol=1e-6)


def test_the_overlap_of_the_final_map_enters_with_its_weight():
    without, with_it = (joint(LossConfig(overlap_weight=weight)) for weight in (0.0, 0.5))
    np.testing.assert_allclose(with_it[1]["overlap"], expected_overlap(STEPS[2]), rtol=1e-5)
    np.testing.assert_allclose(with_it[0], without[0] + 0.5 * with_it[1]["overlap"], rtol=1e-6)
    assert "overlap" not in without[1]


def test_terms_are_named_and_not_weighted():
    _, terms = joint(LossConfig(stream_weights=(0.0, 1.0, 2.0)))
    maps = {"final": STEPS[2], "fused": LOGITS, "step1": STEPS[0], "step2": STEPS[1]}
    maps |= {f"stream{n}": logits for n, logits in enumerate(STREAMS, start=1)}
    assert sorted(terms) == sorted(maps)
    for name, logits in maps.items():
        np.testing.assert_allclose(terms[name], expected_loss("cross_entropy", logits), rtol=1e-6)


def test_without_recurrent_steps_the_fused_map_is_the_final_one():
    total, terms = joint(LossConfig(stream_weights=(0.0,), fnet_weight=1.0, step_weight=1.0), num_steps=0)
    assert sorted(terms) == ["final", "stream1", "stream2", "stream3"]
    np.testing.assert_allclose(total, expected_loss("cross_entropy", LOGITS), rtol=1e-6)
