import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax import compiler
from btbnet_jax.compiler import compiler_options, has_onednn
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


def test_convolutions_are_left_to_onednn_where_xla_has_it():
    """With bias and ReLU, in the way that the network has them: then nothing else is left to compute."""
    if not has_onednn():
        pytest.skip("this XLA has no convolutions of oneDNN")
    x, kernel, bias = (jnp.ones(shape) for shape in ((1, 40, 40, 32), (3, 3, 32, 32), (32,)))
    convolve = partial(Direct().convolve, relu=True)
    program = str(jax.jit(convolve).lower(x, kernel, bias).compile(compiler_options(onednn=True)).as_text())
    assert "__onednn$convolution" in program
    assert "RELU" in program
    assert " maximum(" not in program


def test_a_program_for_onednn_is_not_kept(tmp_path: Path):
    """Where XLA has it, to write such a program would end in a warning, which the tests take for an error."""
    script = """
import jax, sys
import jax.numpy as jnp
from btbnet_jax.compiler import compiled
from btbnet_jax.network.convolution import Direct
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
def convolved(x, kernel):
    return Direct().convolve(x, kernel)
compiled(convolved, onednn={})(jnp.ones((1, 8, 8, 8)), jnp.ones((3, 3, 8, 8)))
"""
    for onednn, kept in ((True, 0), (False, 1)):
        folder = tmp_path / str(onednn)
        subprocess.run([sys.executable, "-W", "error", "-c", script.format(onednn), folder], check=True)
        names = [path.name for path in folder.glob("jit_convolved*-cache")]
        assert len(names) == kept, names


def test_an_option_for_speed_that_xla_does_not_know_is_left_out():
    assert compiler._known("xla_cpu_no_such_option", "1") == {}
