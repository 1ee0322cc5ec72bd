import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax import training
from btbnet_jax.config import LossConfig, OptimiserConfig, TrainConfig
from btbnet_jax.images import resize_image
from btbnet_jax.network import init_params, quick
from btbnet_jax.training import (
    Metrics,
    TrainState,
    init_state,
    make_mesh,
    make_train_step,
    replicated,
    shared,
)
from btbnet_jax.types import Batch
from tests.small_runs import CONFIG
from tests.small_sets import half_in_focus

UNEVEN = [(16, 16), (5, 7), (16, 16), (1, 1), (9, 12), (2, 16), (16, 16), (0, 0)]


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


def run(
    step, params: Any, batch: Batch, *, config: TrainConfig = CONFIG, count: int = 1, devices: int = 1
) -> tuple[TrainState, list[Metrics]]:
    """The state after some steps with one batch, and the metrics of each."""
    mesh = make_mesh(devices)
    state = jax.device_put(init_state(config, jax.tree.map(jnp.array, params)), replicated(mesh))
    metrics = []
    for _ in range(count):
        state, figures = step(state, shared(batch, mesh))
        metrics.append(figures)
    return state, jax.device_get(metrics)


def assert_close(tree: Any, other: Any, *, tolerance: float) -> None:
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=tolerance, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def test_eight_devices_do_what_one_does_however_the_valid_pixels_are_divided(step, params: Any):
    batch = batch_of(UNEVEN)
    (one, one_metrics), (many, many_metrics) = (run(step, params, batch, devices=num) for num in (1, 8))
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(many.params)} == {8}
    assert_close(many_metrics, one_metrics, tolerance=1e-5)
    assert_close(many.optimiser, one.optimiser, tolerance=1e-5)


def test_eight_devices_have_the_parameters_of_one_after_twenty_steps(params: Any):
    sgd = OptimiserConfig(kind="sgd", learning_rate=1e-3, schedule="constant")  # Adam would divide by nearly nothing
    config = dataclasses.replace(CONFIG, optimiser=sgd)
    step = make_train_step(config)
    one, many = (run(step, params, batch_of(UNEVEN), config=config, count=20, devices=num) for num in (1, 8))
    assert_close(many[0].params, one[0].params, tolerance=1e-5)
    assert_close(many[1], one[1], tolerance=1e-4)
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), one[0].params, params)
    assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("policy", ["all", "half"])
def test_what_is_computed_again_makes_the_same_updates(step, params: Any, policy: Any):
    network = dataclasses.replace(CONFIG.network, remat=True, remat_policy=policy)
    remat = dataclasses.replace(CONFIG, network=network)
    (again, again_metrics), (kept, metrics) = (
        run(one, params, batch_of(UNEVEN), count=3) for one in (make_train_step(remat), step)
    )
    assert_close(again_metrics, metrics, tolerance=1e-5)
    assert_close(again.params, kept.params, tolerance=1e-5)


def test_a_step_makes_the_new_state_where_the_old_one_lay(step, params: Any):
    state = init_state(CONFIG, jax.tree.map(jnp.array, params))
    step(state, batch_of(UNEVEN))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize("remat", [False, True])
def test_quick_convolutions_make_the_updates_of_direct_ones(
    step, params: Any, monkeypatch: pytest.MonkeyPatch, remat: bool
):
    monkeypatch.setattr(quick, "LEAST_CHANNELS", 16)  # as if so narrow a network were wide in its upper layers,
    monkeypatch.setattr(quick, "LEAST_PIXELS", 1)  # and so small images large
    batch = batch_of(UNEVEN)
    network = dataclasses.replace(CONFIG.network, precision="default", remat=remat)
    quickly: Any = make_train_step(dataclasses.replace(CONFIG, network=network))
    program = str(quickly.trace(init_state(CONFIG, params), batch).jaxpr)
    assert "name=winograd_convolution" in program
    assert "name=by_winograd" in program
    (found, found_metrics), (expected, metrics) = run(quickly, params, batch, devices=2), run(step, params, batch)
    assert_close(found_metrics, metrics, tolerance=1e-5)
    assert_close(found.optimiser, expected.optimiser, tolerance=1e-5)


def test_updates_in_bfloat16_are_those_in_float32_but_for_its_rounding(step, params: Any):
    batch = batch_of(UNEVEN)
    half = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, dtype="bfloat16"))
    (found, (figures, *_)), (_, (expected, *_)) = run(make_train_step(half), params, batch), run(step, params, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {jnp.dtype("float32")}
    assert figures["loss"] != expected["loss"]
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(figures[name], expected[name], rtol=0.05)


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


@pytest.mark.parametrize("number", [0, 9, -1])
def test_devices_that_are_not_there_are_refused(number: int):
    with pytest.raises(ValueError, match=f"there are 8 devices to train on, not {number}"):
        make_mesh(number)
