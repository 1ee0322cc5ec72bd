"""The trunk's parameters from files of VGG16 that other projects publish."""

from btbnet_jax.pretrained.vgg16 import Vgg16Weights, load_vgg16

__all__ = ["Vgg16Weights", "load_vgg16"]
