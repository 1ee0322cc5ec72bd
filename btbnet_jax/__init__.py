"""BTBNet in JAX: a photograph in, a map of what is in focus out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from btbnet_jax.detect import Detection, Detector

__all__ = ["Detection", "Detector"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: parts of the package are of use without JAX's start-up.
    if name in __all__:
        from btbnet_jax import detect

        return getattr(detect, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
