"""What a bundle and what comes back of it may weigh, in bytes; 1 MB is 1,000,000 of them."""

from collections.abc import Mapping

MB = 1_000_000
MOST_BUNDLE = 60 * MB
"""Of the whole file: code, wheels, incoming weights and data."""
MOST_DATA = 20 * MB
"""Of photographs and masks in it."""
MOST_WEIGHTS = 60 * MB
"""Of a weights file that is handed out: the network that is trained is passed on in no more."""
LARGEST_PIECE = 16 * MB - 1
MOST_PIECES = 8


class BundleError(ValueError):
    """A bundle, or what came back of one, that is over a limit, damaged or not whole; the text says what to do."""


def check(what: str, size: int, most: int, advice: str) -> None:
    """Raises BundleError where something weighs more than it may."""
    if size > most:
        raise BundleError(f"{what}: {size / MB:.2f} MB, and at most {most / MB:.2f} MB are allowed: {advice}")


def table(weights: Mapping[str, int], limits: Mapping[str, int]) -> str:
    """Returns what weighs what, in MB, a line each, beside its limit where it has one."""
    width = max(map(len, weights))
    lines = [f"{'':{width}}      MB   limit"]
    for name, size in weights.items():
        limit = f"{limits[name] / MB:8.2f}" if name in limits else ""
        lines.append(f"{name:{width}}{size / MB:8.2f}{limit}")
    return "\n".join(lines)
