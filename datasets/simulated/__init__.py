"""The data set `simulated`, registered with TFDS when this is imported."""

from .simulated_dataset_builder import Builder as Builder
