"""The data set `dut`, registered with TFDS when this is imported."""

from .dut_dataset_builder import Builder as Builder
