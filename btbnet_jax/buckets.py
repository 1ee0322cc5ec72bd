"""A few array shapes for photographs of many sizes, since each shape is a program to compile."""

from collections.abc import Iterable, Sequence

Shape = tuple[int, int]

_STEP = 16  # shapes are multiples of it
_SLACK = 0.1  # a known shape may be larger than a photograph by this share before another is worth compiling


class Buckets:
    """Shapes of the arrays that photographs are padded into, chosen as the photographs come.

    A known shape serves where little of it would stay empty; else one that fits is added.  The last one that may be
    added covers all that came before, and from then on only a photograph that nothing covers makes a new one.

    Args:
      largest: pixels of a shape that more than one photograph decides on.
      most: shapes before that.
    """

    def __init__(self, *, largest: int, most: int = 6) -> None:
        self._largest, self._most = largest, most
        self.shapes: list[Shape] = []

    def choose(self, size: Sequence[int]) -> Shape:
        """Returns the height and width of the array for a photograph of `size`."""
        covering = [shape for shape in self.shapes if shape[0] >= size[0] and shape[1] >= size[1]]
        best = min(covering, key=_pixels, default=None)
        full = len(self.shapes) >= self._most
        if best is not None and (full or _pixels(best) <= (1 + _SLACK) * _pixels(size)):
            return best
        shape = _covering([size, *self.shapes])
        if len(self.shapes) < self._most - 1 or _pixels(shape) > self._largest:
            shape = _covering([size])
        if shape not in self.shapes:
            self.shapes.append(shape)
        return shape


def _covering(sizes: Iterable[Sequence[int]]) -> Shape:
    """The smallest shape that covers all of some sizes."""
    height, width = (-(-max(sides) // _STEP) * _STEP for sides in zip(*sizes, strict=True))
    return height, width


def _pixels(shape: Sequence[int]) -> int:
    return shape[0] * shape[1]
