"""The network, each part importable by itself."""

from btbnet_jax.network.btbnet import BTBNet, Outputs, init_params
from btbnet_jax.network.convolution import Convolution
from btbnet_jax.network.frrnet import FNet, RRNet
from btbnet_jax.network.stream import Stream
from btbnet_jax.network.vgg import Trunk
from btbnet_jax.network.winograd import WinogradConvolution, for_inference

__all__ = [
    "BTBNet",
    "Convolution",
    "FNet",
    "Outputs",
    "RRNet",
    "Stream",
    "Trunk",
    "WinogradConvolution",
    "for_inference",
    "init_params",
]
