"""The peak of memory that a benchmark is about."""

import resource


def peak_memory(library: str = "jax") -> int:
    """Returns that of the GPU where there is one, else that of the process, in bytes; of "jax" or "torch"."""
    if library == "jax":
        import jax

        if stats := jax.devices()[0].memory_stats():
            return stats["peak_bytes_in_use"]
    else:
        import torch  # pyright: ignore[reportMissingImports]

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
