"""``python -m btbnet_jax`` is the command ``btbnet``."""

import sys

from btbnet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
