"""The network, each part importable by itself."""

from btbnet_jax.network.btbnet import BTBNet, Outputs, init_params
from btbnet_jax.network.convolution import Convolution
from btbnet_jax.network.frrnet import FNet, RRNet
from btbnet_jax.network.quick import OneDnnConvolution, QuickConvolution, fastest_convolution, for_inference
from btbnet_jax.network.stream import Stream
from btbnet_jax.network.vgg import Trunk

__all__ = [
    "BTBNet",
    "Convolution",
    "FNet",
    "OneDnnConvolution",
    "Outputs",
    "QuickConvolution",
    "RRNet",
    "Stream",
    "Trunk",
    "fastest_convolution",
    "for_inference",
    "init_params",
]
