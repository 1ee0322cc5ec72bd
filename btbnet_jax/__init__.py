"""BTBNet in JAX: a photograph in, a map of what is in focus out."""

__version__ = "0.1.0"
