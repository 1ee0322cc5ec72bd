"""What XLA has to be told for this network."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def compiler_options() -> dict[str, str | bool]:
    """Returns options for `jax.jit` and for the `compile` of what it has lowered; none but on a CPU.

    - XLA for CPUs removes the barriers of `jax.lax.optimization_barrier` before it looks for what could be computed
      only once, or again where it is needed.  So it undoes `jax.checkpoint`, and makes the transforms of Winograd's
      convolutions several times.  Without that pass the barriers stay.
    - It orders operations so that many can run at once, which here fill the cores alone: the streams' features then
      all lie in memory together, 3.8 GiB where 1.1 are enough (the paper's network at 320 x 320), for no speed.
    - It leaves convolutions to YNNPACK, by which layers of 32 to 512 channels on 160 x 160 pixels take 1.05 to 1.4
      times as long as by XLA's own (`benchmarks/layers.py`).  Matrix products alone are left to it.
    """
    if jax.default_backend() != "cpu":
        return {}
    return {
        "xla_disable_hlo_passes": "cse_barrier_expander",
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    } | _known("xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT")


@functools.cache
def _known(name: str, value: str) -> dict[str, str | bool]:
    """An option for speed alone, where this XLA has it: an experimental one may be gone in the next."""
    try:
        jax.jit(lambda: 0).lower().compile({name: value})
    except jax.errors.JaxRuntimeError:
        return {}
    return {name: value}


def keep_compiled_programs(folder: Path) -> None:
    """Lets JAX keep in a folder what takes long to compile, for later processes, unless it was told where already."""
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(folder))


class JitWithOptions:
    """`jax.jit` with `compiler_options`, which depend on the backend and are looked up when it is first called.

    Args:
      function: to compile.
      options: of `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self._function, self._options = function, options

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Returns what the compiled function returns."""
        return self.jitted(*arguments, **named)

    @functools.cached_property
    def jitted(self) -> Any:
        """What `jax.jit` returned."""
        return jax.jit(self._function, compiler_options=compiler_options() or None, **self._options)


def jit_with_options(**options: Any) -> Callable[[Callable[..., Any]], JitWithOptions]:
    """Returns a decorator; see `JitWithOptions`."""
    return functools.partial(JitWithOptions, **options)
