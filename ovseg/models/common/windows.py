"""A picture as overlapping windows, and maps of the windows as one map of the picture.

A ViT that was trained on small squares sees a large picture best through windows of about that size.
Source: Trident, `trident.py`, `preprocess_image`, `forward_slide` and `guidance_attn`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture in pixels; `bottom` and `right` are past its end."""

    top: int
    left: int
    bottom: int
    right: int


def fitted_size(size: tuple[int, int], *, patch: int, window: int) -> tuple[int, int]:
    """(height, width) near `size` that whole patches and at least one window fit into.

    The long side is rounded up to patches and the short side follows it, rounded up too, so the aspect is
    kept only nearly. The official code leaves alone every size of whole patches; of those, the ones below a
    window (which it cannot splice) become a window here.

    Args:
        size: (height, width) in pixels.
        patch: side of a patch in pixels.
        window: least height and width of the result, a multiple of `patch`.
    """
    if all(side % patch == 0 and side >= window for side in size):
        return size
    longest = max(size)
    scaled = (_round_up(int(side * _round_up(longest, patch) / longest), patch) for side in size)
    height, width = (max(side, window) for side in scaled)
    return height, width


def fit(images: Float[Tensor, "b 3 h w"], *, patch: int, window: int) -> Float[Tensor, "b 3 H W"]:
    """Normalised pictures resized bilinearly to their `fitted_size`."""
    height, width = images.shape[-2:]
    size = fitted_size((height, width), patch=patch, window=window)
    if size == (height, width):
        return images
    return F.interpolate(images, size=size, mode="bilinear")


def windows(size: tuple[int, int], *, window: int, stride: int) -> tuple[Window, ...]:
    """Square windows that cover a picture, row by row; the last of each axis is moved back into it.

    All have one size, `window` or the side of a picture that is smaller.

    Args:
        size: (height, width) of the picture.
        window: side of a window in pixels.
        stride: from one window to the next, in pixels.
    """
    rows, columns = (_spans(side, window, stride) for side in size)
    return tuple(Window(top, left, bottom, right) for top, bottom in rows for left, right in columns)


def crop(images: Float[Tensor, "1 3 h w"], places: Sequence[Window]) -> Float[Tensor, "n 3 H W"]:
    """The windows of one picture."""
    return torch.cat([images[..., w.top : w.bottom, w.left : w.right] for w in places])


def splice(
    maps: Float[Tensor, "n c _ _"], places: Sequence[Window], *, size: tuple[int, int], patch: int = 1
) -> Float[Tensor, "1 c h w"]:
    """Maps of windows as the map of the picture; where windows overlap, their mean.

    Args:
        maps: one per window, on any grid; resized bilinearly to one position per patch where it is another.
        places: the windows, in pixels, at multiples of `patch`.
        size: (height, width) of the picture in pixels, multiples of `patch`.
        patch: pixels per position of the result.
    """
    first = places[0]
    grid = (first.bottom - first.top) // patch, (first.right - first.left) // patch
    if tuple(maps.shape[-2:]) != grid:
        maps = F.interpolate(maps, size=grid, mode="bilinear")
    total = maps.new_zeros(1, maps.shape[1], size[0] // patch, size[1] // patch)
    for place, part in zip(places, maps, strict=True):
        _part(total, place, patch).add_(part)
    return total / hits(places, size=size, patch=patch).to(maps)


def hits(places: Sequence[Window], *, size: tuple[int, int], patch: int = 1) -> Float[Tensor, "h w"]:
    """How many windows show each position; arguments as in `splice`."""
    count = torch.zeros(size[0] // patch, size[1] // patch)
    for place in places:
        _part(count, place, patch).add_(1)
    return count


def _part(whole: Tensor, place: Window, patch: int) -> Tensor:
    """The view of a map that a window shows."""
    rows = slice(place.top // patch, place.bottom // patch)
    return whole[..., rows, place.left // patch : place.right // patch]


def _spans(side: int, window: int, stride: int) -> list[tuple[int, int]]:
    count = max(side - window + stride - 1, 0) // stride + 1
    ends = [min(index * stride + window, side) for index in range(count)]
    return [(max(end - window, 0), end) for end in ends]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
