"""TFDS builders of the project, by the folders that `tfds build` expects; the rules lie in btbnet_jax."""
