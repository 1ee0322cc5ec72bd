"""The convolution that a network is fastest with, on the device at hand."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float

from btbnet_jax.compiler import has_onednn
from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import kernel_gradient
from btbnet_jax.network.convolution import Bias, Convolution, Direct, Kernel, turned
from btbnet_jax.network.narrow import columns_at_a_time, narrow_convolution
from btbnet_jax.network.winograd import TransformedKernel, transform_kernel, winograd_convolution
from btbnet_jax.types import Features, Valid

LEAST_CHANNELS = 128
"""Of inputs and of outputs, and of inputs alone for the kernel's gradient by products.  With 64, a layer by itself
takes as little as half the time, but in trials a network of such layers compiled more than twice as long for a map that
was hardly faster; below, the transforms cost more than the multiplications that they save."""
LEAST_PIXELS = 64 * 64
"""Of all images of a batch, where the kernel is transformed in every call, as in training: below, that costs more than
it saves.  By kernels that were transformed once, Winograd's way is the faster one in small images too: 1.3 times the
direct one with 128 channels and 32 x 32 pixels, 2.7 times with 512 (`benchmarks/layers.md`)."""

LEAST_INPUTS = 32
"""For the kernel's gradient by products where other convolutions are left to oneDNN, which is slow with kernels as
large as an image.  Without oneDNN products make a step of so narrow a network hardly faster, and take more memory."""


class _OnCpu(Direct):
    """What the ways on a CPU have in common."""

    def by_inputs(self, x: Features, kernel: Kernel, gradient: Features) -> Features:
        """Returns what `Direct` does, but for rounding."""
        return self.convolve(gradient, turned(kernel))

    def by_bias(self, gradient: Features) -> Float[Array, " d"]:
        """Returns what `Direct` does, but for rounding."""
        return kernel_gradient.by_bias(gradient)


@dataclasses.dataclass(frozen=True)
class Quick(_OnCpu):
    """The fastest way on a CPU by what XLA has itself.

    Wide layers are computed by Winograd's way and narrow ones several columns at a time, so is the gradient by the
    inputs.  That by a wide kernel is made of products.
    """

    def convolve(
        self, x: Features, kernel: Kernel, bias: Bias | None = None, valid: Valid | None = None, *, relu: bool = False
    ) -> Features:
        """Returns what `Direct` does, but for rounding."""
        if _large(x, kernel):
            return winograd_convolution(x, transform_kernel(kernel), bias, valid, relu=relu)
        return super().convolve(x, kernel, bias, valid, relu=relu)

    def sums(self, x: Features, kernel: Kernel, *, outside: int = 1) -> Float[Array, "b _ w d"]:
        """Returns what `Direct` does, but for rounding."""
        if (columns := columns_at_a_time(*kernel.shape[2:])) > 1:
            return narrow_convolution(x, kernel, columns, self.precision, outside)
        return super().sums(x, kernel, outside=outside)

    def by_kernel(self, x: Features, kernel: Kernel, gradient: Features) -> Kernel:
        """Returns what `Direct` does, but for rounding."""
        if x.shape[-1] < LEAST_CHANNELS:
            return super().by_kernel(x, kernel, gradient)
        return (kernel_gradient.by_winograd if _large(x, kernel) else kernel_gradient.by_products)(x, gradient)


@dataclasses.dataclass(frozen=True)
class OneDnn(_OnCpu):
    """The fastest way on a CPU for narrow layers and for bfloat16, in programs compiled for oneDNN."""

    def rows_of_strip(self, x: Features) -> int | None:
        """Returns None: oneDNN divides images by itself, without the fault of XLA's own (see `MOST_PIXELS`)."""
        return None

    def by_kernel(self, x: Features, kernel: Kernel, gradient: Features) -> Kernel:
        """Returns what `Direct` does, but for rounding."""
        if x.shape[-1] < LEAST_INPUTS:
            return super().by_kernel(x, kernel, gradient)
        return kernel_gradient.by_products(x, gradient).astype(gradient.dtype)


class QuickConvolution(Convolution):
    """A `Convolution` computed in the fastest way on a CPU by what XLA has itself.

    Its kernel may have been transformed already, see `transform_kernels`; it is transformed in every call otherwise.
    """

    def kernel_and_bias(self, num_inputs: int) -> tuple[Any, Bias]:
        """Returns the parameters, also where the kernel is a `TransformedKernel`."""
        if isinstance(kernel := self.get_variable("params", "kernel"), TransformedKernel):
            return kernel, self.get_variable("params", "bias")
        return super().kernel_and_bias(num_inputs)

    def convolved(self, x: Features, kernel: Any, bias: Bias, valid: Valid | None) -> Features:
        """Returns what `Convolution` does, but for rounding."""
        if isinstance(kernel, TransformedKernel):
            return winograd_convolution(x, kernel, bias, valid, relu=self.relu)
        return super().convolved(x, kernel, bias, valid)

    @property
    def way(self) -> Direct:
        """How it is computed."""
        return Quick(self.precision)


class OneDnnConvolution(Convolution):
    """A `Convolution` that oneDNN computes, in programs that are compiled for it.

    Compiled otherwise it is XLA's own, with the fault that XLA has in large images (see `MOST_PIXELS`).
    """

    by_onednn: ClassVar[bool] = True

    @property
    def way(self) -> Direct:
        """How it is computed."""
        return OneDnn(self.precision)


def fastest_convolution(config: NetworkConfig) -> type[Convolution]:
    """Returns the convolution that a network is fastest with on the device that JAX uses.

    The quick ones are for a CPU; `precision="highest"` asks for XLA's direct sum.  Float32 networks with layers wide
    enough for Winograd's way stay with it alone: oneDNN gains nothing in their narrow layers, and their programs, which
    compile for long, can then be kept for later processes.  Nothing is left to oneDNN where layers have one channel:
    XLA aborts the process in their gradients, or crashes (jaxlib 0.11.2 and 0.12.0, "required_size <= provided_size" in
    onednn_convolution.cc); from two channels on that was never seen.
    """
    if config.precision == "highest" or jax.default_backend() != "cpu":
        return Convolution
    gains = config.dtype == "bfloat16" or config.channels(512) < LEAST_CHANNELS
    if gains and config.channels(64) > 1 and has_onednn():
        return OneDnnConvolution
    return QuickConvolution if config.dtype == "float32" else Convolution


def for_inference(config: NetworkConfig, params: Any) -> tuple[type[Convolution], Any]:
    """Returns the fastest convolution of a network, and its parameters as that one wants them."""
    convolution = fastest_convolution(config)
    return convolution, transform_kernels(params) if convolution is QuickConvolution else params


def _large(x: Features, kernel: Kernel) -> bool:
    """Whether Winograd's way, with the kernel to be transformed, is the faster one."""
    batch, height, width, _ = x.shape
    return wide_enough(kernel.shape) and batch * height * width >= LEAST_PIXELS


def wide_enough(shape: Sequence[int]) -> bool:
    """Whether a kernel [3, 3, inputs, outputs] has channels enough for Winograd's way to be the faster one."""
    return min(shape[-2:]) >= LEAST_CHANNELS


def transform_kernels(params: Any) -> Any:
    """Returns parameters for `QuickConvolution`, with all kernels that are wide enough transformed once."""

    def transformed(leaf: Any) -> Any:
        return transform_kernel(leaf) if leaf.ndim == 4 and wide_enough(leaf.shape) else leaf

    return jax.tree.map(transformed, params)
