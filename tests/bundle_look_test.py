"""What the program of a bundle looks at before anything takes its minutes."""

import jax
import pytest

from tests.script_calls import command, ended


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU")
def test_the_look_finds_what_can_be_trained_on(monkeypatch: pytest.MonkeyPatch):
    line = ("-m", "btbnet_jax.bundle.look")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    on_cpu = command(*line, "--", "--dtype float32 --remat", "--remat")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    status, said = ended(command(*line, "--", "--remat --dtype=float32"))
    assert status == 1
    assert "JAX sees no GPU here: install it for this machine's, or set JAX_PLATFORMS=cpu" in said
    status, said = ended(on_cpu)
    assert status == 0, said
    assert "gradients in bfloat16 and float32, and a network is trained and saved" in said
