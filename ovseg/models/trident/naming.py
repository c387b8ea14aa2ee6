"""Steps between CLIP's features of a picture and names of its pixels.

Source: Trident (arXiv 2411.09219), section 3.3; `trident.py`, `forward_feature` and `postprocess_result`.

Letters: c channels, h w a map of the picture, y x SAM's grid, s synonyms.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.models.trident.correlation import aggregate, sam_correlation
from ovseg.types import Features, TextEmbeddings

Background = Literal["any_class", "official"]


def join_alike(
    named: Float[Tensor, "1 c h w"], looks: Sequence[Features], *, cos_fac: float, refine_neg_cos: bool
) -> Float[Tensor, "1 c y x"]:
    """Features joined with those of the places that SAM finds alike, on SAM's grid.

    Args:
        named: a map of the picture.
        looks: SAM's features of the picture, or of its left and its right half.
        cos_fac: see `sam_correlation`.
        refine_neg_cos: see `sam_correlation`.

    Raises:
        ConfigError: the mask generator hands out no attention.
    """
    middle = named.shape[-1] // len(looks)
    parts = [named] if len(looks) == 1 else [named[..., :middle], named[..., middle:]]
    joined = []
    for part, look in zip(parts, looks, strict=True):
        attention = look.last_attention
        if attention is None:
            raise ConfigError(
                "trident looks with the mask generator's last attention, and this one hands out none. Use "
                "model/mask_generator=sam_vit_b."
            )
        weights = sam_correlation(attention, cos_fac=cos_fac, refine_neg_cos=refine_neg_cos)
        joined.append(aggregate(weights, on_grid(part, attention.valid)))
    return torch.cat(joined, dim=-1)


def on_grid(named: Float[Tensor, "1 c h w"], grid: tuple[int, int]) -> Float[Tensor, "1 c y x"]:
    """Bilinear resizing to the positions of SAM's grid that show the picture."""
    return F.interpolate(named, size=grid, mode="bilinear")


def class_of_row(text: TextEmbeddings, rule: Background) -> Int[Tensor, " s"]:
    """The class that each synonym counts for.

    Args:
        text: a vocabulary.
        rule: "any_class" leaves them where they belong. "official" gives all rows beyond one per class to the
            first class.
    """
    if rule == "any_class":
        return text.class_of_row
    from_the_end = torch.arange(len(text.rows), device=text.rows.device) - len(text.rows)
    return (from_the_end + len(text.is_seen)).clamp_min(0)
