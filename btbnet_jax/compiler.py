"""What XLA has to be told for this network."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

import jax


def compiler_options(*, onednn: bool = False) -> dict[str, str | bool]:
    """Returns options for `jax.jit` and for the `compile` of what it has lowered; none but on a CPU.

    - XLA for CPUs removes the barriers of `jax.lax.optimization_barrier` before it looks for what could be computed
      only once, or again where it is needed.  So it undoes `jax.checkpoint`, and makes the transforms of Winograd's
      convolutions several times.  Without that pass the barriers stay.
    - It orders operations so that many can run at once, which here fill the cores alone: the streams' features then
      all lie in memory together, and a process that maps 320 x 320 by the paper's network takes 5.5 GiB instead of 2.9,
      for no speed (`benchmarks/full_network.md`).
    - It leaves convolutions to YNNPACK, by which in jaxlib 0.10.2 layers of 32 to 512 channels on 160 x 160 pixels take
      1.05 to 1.4 times as long as by XLA's own (`benchmarks/layers.md`).  In 0.12.0 they take 0.5 to 0.95 times as
      long, and gradients of a layer 0.4 to 1 times, but with 256 channels 1.8 times.  Where that is ahead, oneDNN is
      level with it or further ahead, but for gradients of 32 channels.  Matrix products alone are left to it.

    Args:
      onednn: to leave convolutions to oneDNN instead, see `has_onednn`.
    """
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool] = {
        "xla_disable_hlo_passes": "cse_barrier_expander",
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    }
    options |= _known("xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT")
    return options | (_known("xla_cpu_experimental_onednn_custom_call", True) if onednn else {})


@functools.cache
def _known(name: str, value: str | bool) -> dict[str, str | bool]:
    """An option for speed alone, where this XLA has it: an experimental one may be gone in the next."""
    try:
        jax.jit(lambda: 0).lower().compile({name: value})
    except jax.errors.JaxRuntimeError:
        return {}
    return {name: value}


@functools.cache
def has_onednn() -> bool:
    """Returns whether XLA leaves convolutions to oneDNN here where `compiler_options` ask for it.

    jaxlib 0.11.2 and 0.12.0 do on CPUs of Intel and AMD, 0.10.2 does not.  A map's program compiles in half the time
    then, but cannot be kept for later processes: XLA fails when it writes it, with std::bad_alloc.
    """
    if jax.default_backend() != "cpu":
        return False

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    features, kernel = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((1, 8, 8, 8), (3, 3, 8, 8)))
    with not_kept():
        program = jax.jit(convolve).lower(features, kernel).compile(compiler_options(onednn=True))
    return "__onednn$convolution" in str(program.as_text())


_SETTING = RLock()


@contextmanager
def not_kept() -> Iterator[None]:
    """What is compiled meanwhile is not kept by JAX for later processes; one thread at a time."""
    name = "jax_persistent_cache_min_compile_time_secs"
    with _SETTING:
        before = getattr(jax.config, name)
        jax.config.update(name, math.inf)
        try:
            yield
        finally:
            jax.config.update(name, before)


def keep_compiled_programs(folder: Path) -> None:
    """Lets JAX keep in a folder what takes long to compile, for later processes, unless it was told where already."""
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def compiled(function: Callable[..., Any], *, onednn: bool = False, **options: Any) -> Any:
    """Returns what `jax.jit` does, with `compiler_options` beside its own `options`.

    Args:
      function: to compile.
      onednn: whether convolutions are left to oneDNN.
      options: of `jax.jit`.
    """
    program = jax.jit(function, compiler_options=compiler_options(onednn=onednn) or None, **options)
    return _NotKept(program) if onednn else program


class _NotKept:
    """A function of `jax.jit`; the programs that its calls compile are not kept for later processes.

    Which call compiles is not known before, so every call changes JAX's setting: for two millionths of a second.
    """

    def __init__(self, program: Any) -> None:
        self._program = program

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with not_kept():
            return self._program(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)


class JitWithOptions:
    """`jax.jit` with `compiler_options`, which depend on the backend and are looked up when it is first asked for.

    Args:
      function: to compile.
      options: of `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self._function, self._options = function, options
        self._programs: dict[bool, Any] = {}

    def by(self, *, onednn: bool) -> Any:
        """Returns what `compiled` does, always the same."""
        if onednn not in self._programs:
            self._programs[onednn] = compiled(self._function, onednn=onednn, **self._options)
        return self._programs[onednn]


def jit_with_options(**options: Any) -> Callable[[Callable[..., Any]], JitWithOptions]:
    """Returns a decorator; see `JitWithOptions`."""
    return functools.partial(JitWithOptions, **options)
