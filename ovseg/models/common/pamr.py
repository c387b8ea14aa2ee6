"""Pixel-adaptive mask refinement: class maps that flow between pixels of one colour.

Source: Araslanov, Roth: Single-Stage Semantic Segmentation from Image Labels (arXiv 2005.08104), section 3.3,
with the constants of its official code.

Letters: s maps, h w the picture, n neighbours of a pixel.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MAPS_AT_ONCE = 32
EPSILON = 1e-8
SOFTNESS = 0.1
"""Factor on the deviation of colours that differences are measured in."""


def pamr(
    maps: Float[Tensor, "s h w"],
    image: Float[Tensor, "3 h w"],
    *,
    steps: int,
    dilations: Sequence[int],
) -> Float[Tensor, "s h w"]:
    """Replace every value by the mean of its neighbours', weighted by likeness of colour, `steps` times.

    Args:
        maps: anything per pixel.
        image: colours, in any unit.
        steps: how often.
        dilations: distances in pixels at which each pixel has eight neighbours.
    """
    weights = neighbour_weights(image, dilations)
    refined = []
    for some in maps.split(MAPS_AT_ONCE):
        for _ in range(steps):
            total = torch.zeros_like(some)
            for weight, neighbours in zip(weights, _neighbours(some, dilations), strict=True):
                total.addcmul_(weight, neighbours)
            some = total
        refined.append(some)
    return torch.cat(refined)


def neighbour_weights(image: Float[Tensor, "3 h w"], dilations: Sequence[int]) -> Float[Tensor, "n h w"]:
    """How much each neighbour counts; they add up to 1.

    The deviation is over the neighbours and, once for each dilation, the pixel itself.
    """
    count = 9 * len(dilations)
    mean = image * len(dilations)
    for neighbours in _neighbours(image, dilations):
        mean = mean + neighbours
    mean = mean / count
    square = (image - mean).square() * len(dilations)
    for neighbours in _neighbours(image, dilations):
        square += (neighbours - mean).square()
    softness = EPSILON + SOFTNESS * (square / (count - 1)).sqrt()
    likeness = [-((image - other).abs() / softness).mean(0) for other in _neighbours(image, dilations)]
    return torch.stack(likeness).softmax(0)


def _neighbours(x: Float[Tensor, "c h w"], dilations: Sequence[int]) -> Iterator[Float[Tensor, "c h w"]]:
    """The maps as each neighbour of a pixel sees them; beyond the border is the border."""
    height, width = x.shape[1:]
    for distance in dilations:
        padded = F.pad(x[None], (distance,) * 4, mode="replicate")[0]
        for dy in (0, distance, 2 * distance):
            for dx in (0, distance, 2 * distance):
                if (dy, dx) != (distance, distance):
                    yield padded[:, dy : dy + height, dx : dx + width]
