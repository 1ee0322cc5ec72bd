from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btbnet_jax.config import OptimiserConfig
from btbnet_jax.training import learning_rate, make_optimiser
from tests.training_test import assert_close

ADAM_EPSILON = 1e-8


def rates(steps: int, at: tuple[int, ...], **values: Any) -> list[float]:
    schedule = learning_rate(OptimiserConfig(**values), steps)
    return [float(cast(jax.Array, schedule(jnp.asarray(step)))) for step in at]


def test_a_constant_rate_is_constant_after_a_linear_rise():
    expected = [0.0, 0.05, 0.15, 0.2, 0.2, 0.2]
    found = rates(20, (0, 1, 3, 4, 10, 20), learning_rate=0.2, schedule="constant", warmup_steps=4)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_cosine_falls_to_0_over_the_steps_after_the_rise():
    expected = [0.0, 0.1, 0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.0]  # 0.2 (1 + cos πx) / 2 at x = 0, 1/4, 1/2, 1
    found = rates(10, (0, 1, 2, 4, 6, 10), learning_rate=0.2, schedule="cosine", warmup_steps=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_poly_falls_to_0_with_the_power_of_0_9():
    expected = [0.2, 0.2 * 0.75**0.9, 0.2 * 0.5**0.9, 0.0]
    found = rates(8, (0, 2, 4, 8), learning_rate=0.2, schedule="poly")
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_a_rise_as_long_as_the_run_is_refused():
    with pytest.raises(ValueError, match="warmup_steps is less than the 8 steps of the run, not 8"):
        learning_rate(OptimiserConfig(warmup_steps=8), 8)


def parameters() -> dict[str, Any]:
    """A trunk and a convolution beside it, each with a kernel and a bias."""
    return {
        "stream1": {
            "trunk": {"conv1_1": {"kernel": jnp.array([2.0, -4.0]), "bias": jnp.array([1.0])}},
            "top1": {"kernel": jnp.array([3.0]), "bias": jnp.array([-5.0])},
        }
    }


def updated(values: dict[str, Any], gradients: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    """`values` after a step with each of the gradients."""
    optimiser = make_optimiser(OptimiserConfig(schedule="constant", **settings), 100)
    state = optimiser.init(values)
    for gradient in gradients:
        updates, state = optimiser.update(gradient, state, values)
        values = cast(dict[str, Any], optax.apply_updates(values, updates))
    return values


def test_sgd_has_momentum_and_adds_the_decay_of_kernels_to_their_gradient():
    values, gradient = parameters(), jax.tree.map(jnp.ones_like, parameters())
    found = updated(values, [gradient] * 2, kind="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.5)

    def by_hand(path: Any, value: jax.Array) -> jax.Array:
        decay, velocity = (0.5 if path[-1].key == "kernel" else 0.0), jnp.zeros_like(value)
        for _ in range(2):
            velocity = 0.9 * velocity + 1 + decay * value
            value = value - 0.1 * velocity
        return value

    assert_close(found, jax.tree_util.tree_map_with_path(by_hand, values), tolerance=1e-6)


def test_the_decay_of_adamw_goes_past_its_moments_and_reaches_only_kernels():
    values = parameters()
    still = jax.tree.map(jnp.zeros_like, values)
    found = updated(values, [still] * 3, kind="adamw", learning_rate=0.1, weight_decay=0.5)
    factor = (1 - 0.1 * 0.5) ** 3
    expected = jax.tree_util.tree_map_with_path(
        lambda path, value: value * (factor if path[-1].key == "kernel" else 1.0), values
    )
    assert_close(found, expected, tolerance=1e-6)


def test_the_first_step_of_adamw_is_as_long_as_its_rate_whatever_the_gradient():
    values = parameters()
    gradient = jax.tree.map(lambda value: 1e-3 * value**3, values)
    found = updated(values, [gradient], kind="adamw", learning_rate=0.1, weight_decay=0.0)
    expected = jax.tree.map(lambda value, g: value - 0.1 * g / (jnp.abs(g) + ADAM_EPSILON), values, gradient)
    assert_close(found, expected, tolerance=1e-5)


def test_the_updates_of_muon_are_orthogonal_and_as_long_as_those_of_adamw():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4))
    values = {"kernel": kernel, "map": kernel[..., :1], "bias": jnp.ones(4)}
    gradient = jax.tree.map(lambda value: 1e-3 * (jnp.sign(value) + value**3), values)
    found = updated(values, [gradient], kind="muon", learning_rate=0.1, weight_decay=0.0)
    update = np.reshape(found["kernel"] - kernel, (18, 4)) / 0.1
    singular = np.linalg.svd(update, compute_uv=False)
    assert singular.max() / singular.min() < 2.5  # no direction goes much further than another
    np.testing.assert_allclose(np.sqrt(np.mean(update**2)), 0.2, rtol=0.3)
    for name in ("map", "bias"):  # which Adam takes, with Nesterov's momentum: whatever the gradient, as long
        steps = (values[name] - found[name]) * jnp.sign(gradient[name])
        np.testing.assert_allclose(steps, 0.1473684, rtol=1e-2)  # 0.1 (0.9 / (1 - 0.9²) + 0.1 / (1 - 0.9))


def test_the_decay_of_muon_reaches_kernels_only():
    values = {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)}
    found = updated(values, [jax.tree.map(jnp.zeros_like, values)], kind="muon", learning_rate=0.1, weight_decay=0.5)
    np.testing.assert_allclose(found["kernel"], 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(found["bias"], values["bias"])


def test_kernels_turn_and_keep_the_norm_of_each_output_where_that_is_asked_for():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4)).at[..., 3].set(0)
    values = {"kernel": kernel, "map": kernel[..., :1], "bias": jnp.ones(4)}
    gradients = [jax.tree.map(lambda value: jnp.flip(value) + 0.1, values)] * 3
    kept, free = (
        updated(values, gradients, kind="muon", learning_rate=0.1, weight_decay=0.0, keep_norms=keep_norms)
        for keep_norms in (True, False)
    )
    norms = [np.linalg.norm(np.reshape(one["kernel"], (18, 4)), axis=0) for one in (values, kept, free)]
    np.testing.assert_allclose(norms[1][:3], norms[0][:3], rtol=1e-5)
    assert np.abs(norms[2] - norms[0]).max() > 0.05
    assert norms[1][3] > 0.05  # what has no norm yet gets one
    assert np.abs(kept["kernel"] - values["kernel"])[..., :3].max() > 0.05
    for name in ("map", "bias"):
        np.testing.assert_array_equal(kept[name], free[name])


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_the_trunks_own_rate_scales_all_of_their_update_and_nothing_else(kind: str):
    values, gradient = parameters(), jax.tree.map(jnp.ones_like, parameters())
    one, tenth = (
        updated(values, [gradient], kind=kind, learning_rate=0.1, weight_decay=0.5, trunk_factor=factor)["stream1"]
        for factor in (1.0, 0.1)
    )
    expected = jax.tree.map(lambda old, new: old + 0.1 * (new - old), values["stream1"]["trunk"], one["trunk"])
    assert_close(tenth, {"trunk": expected, "top1": one["top1"]}, tolerance=1e-6)


def test_a_gradient_is_shortened_as_a_whole():
    values = parameters()
    gradient = jax.tree.map(jnp.zeros_like, values)
    gradient["stream1"]["trunk"]["conv1_1"]["kernel"] = jnp.array([3.0, 0.0])
    gradient["stream1"]["top1"]["bias"] = jnp.array([4.0])
    settings: dict[str, Any] = {"kind": "sgd", "learning_rate": 1.0, "weight_decay": 0.0}
    found = updated(values, [gradient], **settings, clip_norm=1.0)  # from 5
    expected = jax.tree.map(lambda value, g: value - g / 5, values, gradient)
    assert_close(found, expected, tolerance=1e-6)
    unclipped = jax.tree.map(lambda value, g: value - g, values, gradient)
    for clip_norm in (0.0, 5.5):
        assert_close(updated(values, [gradient], **settings, clip_norm=clip_norm), unclipped, tolerance=1e-6)
