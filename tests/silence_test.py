from typing import Any

import jax
import jax.numpy as jnp
import pytest

from btbnet_jax.config import OptimiserConfig
from btbnet_jax.silence import silent_in_words, silent_layers
from btbnet_jax.training import make_optimiser

LAYERS: tuple[str, ...] = ("trunk/conv1_1", "trunk/conv1_2", "down1")


def tree(values: dict[str, float]) -> dict[str, Any]:
    """Parameters, or their gradients, of a stream, with the value of each layer in all of its kernel."""
    layers: Any = {
        layer: {"kernel": jnp.full((3, 3, 2, 1 if layer == "down1" else 2), value), "bias": jnp.zeros(2)}
        for layer, value in values.items()
    }
    trunk = {layer.removeprefix("trunk/"): layers[layer] for layer in LAYERS[:2]}
    return {"stream1": {"trunk": trunk, "down1": layers["down1"]}}


def state_after(steps: int, learned: dict[str, float], still: dict[str, float], **settings: Any) -> Any:
    """The optimiser's state after a step with gradients `learned`, and then `steps` with `still`."""
    optimiser = make_optimiser(OptimiserConfig(schedule="constant", **settings), 1000)
    params = tree(dict.fromkeys(LAYERS, 1.0))

    @jax.jit
    def run(state: Any) -> Any:
        def step(_: Any, state: Any) -> Any:
            return optimiser.update(tree(still), state, params)[1]

        return jax.lax.fori_loop(0, steps, step, optimiser.update(tree(learned), state, params)[1])

    return run(optimiser.init(params))


@pytest.mark.parametrize(
    ("settings", "alive", "silent"),
    [
        ({"kind": "adamw", "trunk_factor": 0.5}, 150, 180),
        ({"kind": "muon", "momentum": 0.95, "keep_norms": True}, 300, 380),
        ({"kind": "sgd", "momentum": 0.9, "weight_decay": 0.0}, 150, 180),
        ({"kind": "sgd", "momentum": 0.0, "weight_decay": 0.0}, 0, 1),
    ],
)
def test_a_layer_is_silent_when_it_has_had_no_gradient_for_long(settings: dict[str, Any], alive: int, silent: int):
    learned = dict.fromkeys(LAYERS, 1.0)
    still = learned | {"trunk/conv1_2": 0.0}
    assert silent_in_words(state_after(alive, learned, still, **settings)) == ""
    found = state_after(silent, learned, still, **settings)
    assert silent_layers(found) == ["stream1/trunk/conv1_2"]
    assert "1 of them: stream1/trunk/conv1_2; a lower learning rate" in silent_in_words(found)


def test_a_layer_with_small_gradients_is_not_silent():
    gradients = {"trunk/conv1_1": 1.0, "trunk/conv1_2": 1e-5, "down1": -1e-5}
    assert silent_layers(state_after(400, gradients, gradients, kind="muon", momentum=0.95)) == []


def test_before_anything_is_learned_all_are_silent():
    nothing = dict.fromkeys(LAYERS, 0.0)
    found = silent_layers(state_after(0, nothing, nothing, kind="adamw"))
    assert found == ["stream1/down1", "stream1/trunk/conv1_1", "stream1/trunk/conv1_2"]
