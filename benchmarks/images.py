"""The images that benchmarks of accuracy look at."""

import sys

from btbnet_jax.builders import BuildError
from btbnet_jax.data import Examples, hold_out


def validation_images(data_dir: str) -> Examples:
    """Returns the 60 validation images of Shi's set; where it is not built, the program ends and says how to."""
    try:
        return hold_out(Examples(data_dir, "shi", "train"), "shi60")[1]
    except BuildError as error:
        sys.exit(str(error))
