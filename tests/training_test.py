import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btbnet_jax import training
from btbnet_jax.config import LossConfig, OptimiserConfig
from btbnet_jax.data import Batch
from btbnet_jax.images import resize_image
from btbnet_jax.network import init_params, quick
from btbnet_jax.training import (
    Metrics,
    TrainState,
    init_state,
    learning_rate,
    make_mesh,
    make_optimiser,
    make_train_step,
    replicated,
    shared,
)
from tests.small_runs import CONFIG
from tests.small_sets import half_in_focus

ADAM_EPSILON = 1e-8


@pytest.fixture(scope="module")
def params() -> Any:
    """Fresh parameters, on the host."""
    return jax.device_get(init_params(jax.random.key(0), CONFIG.network))


@pytest.fixture(scope="module")
def step():
    return make_train_step(CONFIG)


def batch_of(sizes: list[tuple[int, int]], *, side: int = 16, padding: int = 0) -> Batch:
    """Images of some sizes in square arrays, and a value everywhere else."""
    image = np.full((len(sizes), side, side, 3), padding, np.uint8)
    mask = np.full((len(sizes), side, side, 1), padding, np.uint8)
    for number, (height, width) in enumerate(sizes):
        if not height:
            continue  # one that fills a batch up
        values, truth = half_in_focus(number, (16, 16))
        image[number, :height, :width] = resize_image(values, (height, width))
        mask[number, :height, :width, 0] = resize_image(truth, (height, width))
    return Batch(image, mask, np.array(sizes, np.int32), np.arange(len(sizes), dtype=np.int32))


def run(step, params: Any, batch: Batch, *, count: int = 1, devices: int = 1) -> tuple[TrainState, list[Metrics]]:
    """The state after some steps with one batch, and the metrics of each."""
    mesh = make_mesh(devices)
    state = jax.device_put(init_state(CONFIG, jax.tree.map(jnp.array, params)), replicated(mesh))
    metrics = []
    for _ in range(count):
        state, figures = step(state, shared(batch, mesh))
        metrics.append(figures)
    return state, jax.device_get(metrics)


def assert_close(tree: Any, other: Any, *, tolerance: float) -> None:
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=tolerance, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def test_eight_devices_do_what_one_does_however_the_valid_pixels_are_divided(step, params: Any):
    batch = batch_of([(16, 16), (5, 7), (16, 16), (1, 1), (9, 12), (2, 16), (16, 16), (0, 0)])
    (one, one_metrics), (many, many_metrics) = (run(step, params, batch, devices=num) for num in (1, 8))
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(many.params)} == {8}
    assert_close(many_metrics, one_metrics, tolerance=1e-5)
    assert_close(many.optimiser, one.optimiser, tolerance=1e-5)


def test_quick_convolutions_make_the_updates_of_direct_ones(step, params: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quick, "LEAST_CHANNELS", 8)  # as if so narrow a network were wide
    batch = batch_of([(16, 16), (5, 7), (16, 16), (1, 1), (9, 12), (2, 16), (16, 16), (0, 0)])
    quickly = make_train_step(
        dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, precision="default"))
    )
    program = str(jax.make_jaxpr(quickly)(init_state(CONFIG, params), batch))
    assert "name=winograd_convolution" in program
    assert "name=by_winograd" in program
    (found, found_metrics), (expected, metrics) = run(quickly, params, batch, devices=2), run(step, params, batch)
    assert_close(found_metrics, metrics, tolerance=1e-5)
    assert_close(found.optimiser, expected.optimiser, tolerance=1e-5)


def test_the_gradient_of_a_batch_is_the_sum_of_those_of_its_parts_which_devices_share(params: Any):
    data = dataclasses.replace(CONFIG.data, batch_size=4)
    config = dataclasses.replace(CONFIG, loss=LossConfig(overlap_weight=0.5), data=data)
    batch = batch_of([(16, 16), (5, 7), (9, 12), (0, 0)])
    whole, whole_metrics = run(make_train_step(config), params, batch)
    parts = make_train_step(dataclasses.replace(config, accumulate=2))
    summed, metrics = run(parts, params, batch, devices=2)
    assert whole_metrics[0]["loss/overlap"] > 0.1
    assert_close(metrics, whole_metrics, tolerance=1e-5)
    assert_close(summed.optimiser, whole.optimiser, tolerance=1e-5)


def test_parts_of_a_batch_are_computed_in_the_memory_of_one():
    def memory(batch_size: int, accumulate: int) -> int:
        data = dataclasses.replace(CONFIG.data, batch_size=batch_size)
        config = dataclasses.replace(CONFIG, data=data, accumulate=accumulate)
        state = jax.eval_shape(lambda: init_state(config))
        step: Any = make_train_step(config)
        return (
            step.lower(state, batch_of([(64, 64)] * batch_size, side=64)).compile().memory_analysis().temp_size_in_bytes
        )

    assert memory(8, 8) < 0.4 * memory(8, 1)


def test_the_loss_is_the_mean_over_all_valid_pixels_of_the_batch(step, params: Any):
    sizes = [(16, 16), (5, 7)]
    together = batch_of(sizes)
    alone = [Batch(*(np.concatenate([array[n : n + 1]] * 2) for array in together)) for n in range(2)]
    losses = [run(step, params, batch)[1][0]["loss"] for batch in (together, *alone)]
    assert losses[0] == pytest.approx((256 * losses[1] + 35 * losses[2]) / 291, rel=1e-5)


def test_padding_changes_neither_loss_nor_gradient(step, params: Any):
    sizes = [(16, 16), (9, 12)]
    (state, metrics), (padded_state, padded_metrics) = (
        run(step, params, batch) for batch in (batch_of(sizes), batch_of(sizes, side=24, padding=200))
    )
    assert_close(padded_metrics, metrics, tolerance=1e-5)
    assert_close(padded_state.optimiser, state.optimiser, tolerance=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_step_is_traced_once(params: Any, monkeypatch: pytest.MonkeyPatch, devices: int):
    calls = []
    real = training.joint_loss
    monkeypatch.setattr(training, "joint_loss", lambda *args, **options: calls.append(1) or real(*args, **options))
    state, _ = run(make_train_step(CONFIG), params, batch_of([(16, 16), (9, 12)]), count=3, devices=devices)
    assert int(state.step) == 3
    assert len(calls) == 1


def test_the_loss_falls_when_two_images_are_learnt_by_heart(step, params: Any):
    _, metrics = run(step, params, batch_of([(16, 16)] * 2), count=60)
    losses = [float(figures["loss/final"]) for figures in metrics]
    assert losses[0] > 0.5
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_metrics_are_the_loss_its_terms_the_rate_and_the_gradients_norm(step, params: Any):
    (_, (metrics,)) = run(step, params, batch_of([(16, 16), (9, 12)]))
    terms = {name.removeprefix("loss/"): value for name, value in metrics.items() if name.startswith("loss/")}
    assert sorted(terms) == ["final", "fused", "step1", "stream1"]
    assert metrics["loss"] == pytest.approx(terms["final"] + terms["stream1"], rel=1e-6)
    assert metrics["learning_rate"] == pytest.approx(1e-2)
    assert np.isfinite(metrics["gradient_norm"])
    assert metrics["gradient_norm"] > 0
    assert metrics["silent_layers"] == 0


def test_a_layer_whose_relus_are_closed_is_silent_and_so_is_what_it_alone_hears(step, params: Any):
    stream = dict(params["stream1"])
    stream["down2"] = {"kernel": jnp.zeros_like(stream["down2"]["kernel"]), "bias": stream["down2"]["bias"] - 1}
    (_, (metrics,)) = run(step, params | {"stream1": stream}, batch_of([(16, 16), (9, 12)]))
    deeper = [f"conv{name}" for name in ("3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3")]
    assert metrics["silent_layers"] == len([*deeper, "down4", "side4", "down3", "side3", "down2"])


def test_the_average_of_the_parameters_forgets_slowly_but_for_the_first_steps(step, params: Any):
    batch, average = batch_of([(16, 16), (9, 12)]), params
    for count, decay in ((1, 1 / 10), (2, 0.15), (3, 0.15)):  # the smaller of (1 + t) / (10 + t) and 0.15
        state, _ = run(step, params, batch, count=count)
        average = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new), average, state.params)
        assert_close(state.best_params, average, tolerance=1e-6)


def test_without_an_average_the_parameters_themselves_are_the_best(params: Any):
    config = dataclasses.replace(CONFIG, optimiser=dataclasses.replace(CONFIG.optimiser, ema=0.0))
    state = init_state(config, params)
    assert state.average is None
    assert state.best_params is state.params


def test_fresh_states_come_from_the_seed(params: Any):
    jax.tree.map(np.testing.assert_array_equal, init_state(CONFIG).params, params)
    other = init_state(dataclasses.replace(CONFIG, seed=1)).params
    assert not np.array_equal(other["fnet"]["conv1"]["kernel"], params["fnet"]["conv1"]["kernel"])


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


@pytest.mark.parametrize("number", [0, 9, -1])
def test_devices_that_are_not_there_are_refused(number: int):
    with pytest.raises(ValueError, match=f"there are 8 devices to train on, not {number}"):
        make_mesh(number)
