"""The data set `pairs`, registered with TFDS when this is imported."""

from .pairs_dataset_builder import Builder as Builder
