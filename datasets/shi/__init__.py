"""The data set `shi`, registered with TFDS when this is imported."""

from .shi_dataset_builder import Builder as Builder
