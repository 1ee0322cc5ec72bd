"""The same network in PyTorch, as one would write it there, to compare with: it takes our parameters."""

# pyright: reportMissingImports=false
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from btbnet_jax.config import NetworkConfig
from btbnet_jax.network.btbnet import stream_name
from btbnet_jax.network.frrnet import CHANNELS
from btbnet_jax.network.stream import FEEDBACK
from btbnet_jax.network.vgg import BLOCKS
from btbnet_jax.resize import scaled_size


class TorchBTBNet(nn.Module):
    """Images [b, 3, h, w] of 0..1 in, the logits of the streams' maps [s, b, 1, h, w] and of the final map out.

    Args:
      config: of the network; `use_fnet`, `use_rrnet` as in the paper.
      params: flat, by their names in a weights file.
    """

    def __init__(self, config: NetworkConfig, params: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._config, self._params = config, params
        names = dict.fromkeys(stream_name(config, number) for number in range(len(config.scales)))
        self._streams = nn.ModuleDict({name: _Stream(self._layer, name) for name in names})
        self._fnet, self._rrnet = (
            nn.ModuleList([self._layer(f"{name}/conv{layer}") for layer in range(1, len(CHANNELS) + 1)])
            for name in ("fnet", "rrnet/step")
        )
        normalisation = config.normalisation
        for name, values in (("_mean", normalisation.mean), ("_std", normalisation.std)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def _layer(self, name: str) -> nn.Conv2d:
        kernel, bias = (np.asarray(self._params[f"{name}/{part}"]) for part in ("kernel", "bias"))
        layer = nn.Conv2d(*kernel.shape[2:], 3, padding=1)
        layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        layer.bias.data = torch.tensor(bias.copy())
        return layer

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the logits of the streams' maps and of the final one."""
        size = images.shape[2], images.shape[3]
        logits = []
        for number, scale in enumerate(self._config.scales):
            small = images
            if scale != 1:
                shape = scaled_size(size[0], scale), scaled_size(size[1], scale)
                small = functional.interpolate(images, shape, mode="bilinear", antialias=True)
            found = self._streams[stream_name(self._config, number)]((small - self._mean) / self._std)
            logits.append(found if scale == 1 else _resized_map(found, size))
        maps = _fused(self._fnet, torch.sigmoid(torch.cat(logits, 1)), images)
        for _ in range(self._config.num_steps):
            maps = _fused(self._rrnet, torch.sigmoid(maps), images)
        return torch.stack(logits), maps


class _Stream(nn.Module):
    def __init__(self, layer, name: str) -> None:
        super().__init__()
        self._blocks = nn.ModuleList(
            [
                nn.ModuleList([layer(f"{name}/trunk/conv{block}_{number}") for number in range(1, len(widths) + 1)])
                for block, widths in enumerate(BLOCKS, start=1)
            ]
        )
        self._downs, self._sides = (
            nn.ModuleList([layer(f"{name}/{kind}{block}") for block in (4, 3, 2, 1)]) for kind in ("down", "side")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for block in self._blocks:
            for layer in block:
                x = functional.relu(layer(x))
            outputs.append(x)
        for down, side, block, width in zip(self._downs, self._sides, outputs[-2::-1], FEEDBACK, strict=True):
            both = down(x), side(block)
            x = sum(map(functional.relu, both)) if width > 1 else sum(both)
        return x


def _fused(layers: nn.ModuleList, maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    x = torch.cat([maps, images], 1)
    for number, layer in enumerate(layers, start=1):
        x = layer(x)
        x = functional.relu(x) if number < len(layers) else x
    return x


def _resized_map(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    focus, blur = (
        functional.interpolate(torch.sigmoid(signed.float()), size, mode="bilinear").clamp_min(1e-38)
        for signed in (logits, -logits)
    )
    return focus.log() - blur.log()
