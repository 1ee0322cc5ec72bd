import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from btbnet_jax import compiler
from btbnet_jax.compiler import compiler_options
from btbnet_jax.network.convolution import Direct

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "remat.py"


def test_what_is_to_be_computed_again_is_computed_again_and_not_kept():
    """The compiler's own count: a quarter more work, for the second forward pass, or half of that; and less memory."""
    command = [sys.executable, str(SCRIPT), "--exact", "--size=64", f"--width={1 / 16}"]
    table = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    kept, half, again = ([float(cell) for cell in line.split("|")[2:4]] for line in table[2:5])
    assert max(half[0], again[0]) < 0.85 * kept[0]
    assert 1.05 * kept[1] < half[1] < 1.2 * kept[1]
    assert again[1] > 1.25 * kept[1]


def test_a_barrier_keeps_a_sum_from_being_made_again():
    """XLA would fuse the sum into each of its users; behind a barrier it is made once, by an operation of its own."""

    def function(x: jax.Array) -> list[jax.Array]:
        total = jax.lax.optimization_barrier(x[:-1] + x[1:])
        return [total[1:] * total[:-1], total[2:] - total[:-2]]

    program = jax.jit(function).lower(np.zeros(1000, np.float32)).compile(compiler_options())
    assert str(program.as_text()).count(" fusion(") == 3


def test_convolutions_are_xla_s_own():
    x, kernel = jnp.ones((1, 40, 40, 32)), jnp.ones((3, 3, 32, 32))
    program = str(jax.jit(Direct().convolve).lower(x, kernel).compile(compiler_options()).as_text())
    assert "convolution(" in program
    assert "ynn_fusion" not in program


def test_an_option_for_speed_that_xla_does_not_know_is_left_out():
    assert compiler._known("xla_cpu_no_such_option", "1") == {}
