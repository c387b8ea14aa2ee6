"""Which tokens belong together, by SAM: its last attention where values are alike, for CLIP's features.

Source: Trident (arXiv 2411.09219), section 3.3; `seg_utils/utils.py`, `get_sam_sim`.

Letters: n tokens that show the picture, c channels, d channels of a head, h w the grid of the n tokens.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovseg.models.common.global_attention import attention_weights, query_blocks
from ovseg.models.common.linear import linear, prepared
from ovseg.types import GlobalAttention

HIGHEST_THRESHOLD = 0.9
NEGATIVE_THRESHOLD = 0.6
"""What a threshold above the first, or, if asked for, below zero becomes."""


def sam_correlation(
    attention: GlobalAttention, *, cos_fac: float, refine_neg_cos: bool
) -> Float[Tensor, "n n"]:
    """How much each token takes of each other token; rows sum to 1.

    Args:
        attention: of SAM's last block, for one picture.
        cos_fac: threshold on the cosine of values, in units of a token's mean cosine.
        refine_neg_cos: True leaves negative thresholds as they are, False makes them 0.6. (The name is the
            official one and reads the other way round.)
    """
    rows = kept_attention(attention, cos_fac=cos_fac, refine_neg_cos=refine_neg_cos)
    return rows.div_(rows.sum(-1, keepdim=True))


def aggregate(
    correlation: Float[Tensor, "n n"], features: Float[Tensor, "1 c h w"]
) -> Float[Tensor, "1 c h w"]:
    """Mix the features of tokens by their correlation; `h` x `w` are its n tokens, row by row."""
    mixed = linear(correlation, features[0].flatten(1))
    out: Tensor = mixed.transpose(0, 1).unflatten(1, features.shape[2:])[None]
    return out


def kept_attention(
    attention: GlobalAttention, *, cos_fac: float, refine_neg_cos: bool
) -> Float[Tensor, "n n"]:
    """The mean over heads of the attention between tokens whose values are alike, 0 for the others.

    Softmax is over the whole grid, padding included, and what lies in the padding is dropped afterwards, so
    rows sum to less than 1.
    """
    values = unit_values(attention)
    limit = thresholds(values, cos_fac=cos_fac, refine_neg_cos=refine_neg_cos)
    places = valid_places(attention)
    heads = [
        (prepared(head, None, rows=len(head)), head, attention_weights(attention, 0, index))
        for index, head in enumerate(values)
    ]
    out = values.new_zeros(len(places), len(places))
    for block in query_blocks(len(places), values.device):
        total = out[block].view(-1, *attention.valid)
        for cosines, head, weights in heads:
            alike = cosines(head[block]).gt_(limit[block, None])
            on_grid = weights(places[block]).view(-1, *attention.grid)
            total.addcmul_(alike.view_as(total), on_grid[:, : attention.valid[0], : attention.valid[1]])
        total.div_(len(heads))
    return out


def thresholds(
    values: Float[Tensor, "heads n d"], *, cos_fac: float, refine_neg_cos: bool
) -> Float[Tensor, " n"]:
    """The cosine that two tokens' values must exceed in a head, per query and the same for all heads.

    It is `cos_fac` times the query's mean cosine over heads and tokens, which is the mean over heads of its
    product with the mean token.

    Args:
        values: of length 1.
        cos_fac: as in `sam_correlation`.
        refine_neg_cos: as in `sam_correlation`.
    """
    limit = cos_fac * (values @ values.mean(1)[..., None])[..., 0].mean(0)
    if not refine_neg_cos:
        limit = limit.masked_fill(limit < 0, NEGATIVE_THRESHOLD)
    return limit.clamp(max=HIGHEST_THRESHOLD)


def unit_values(attention: GlobalAttention) -> Float[Tensor, "heads n d"]:
    """The values of the tokens that show the picture, of length 1, so that their products are cosines."""
    height, width = attention.valid
    on_grid: Tensor = attention.values[0].unflatten(1, attention.grid)
    return F.normalize(on_grid[:, :height, :width].flatten(1, 2), dim=-1)


def valid_places(attention: GlobalAttention) -> Int[Tensor, " n"]:
    """Indices, in SAM's whole grid, of the tokens that show the picture."""
    height, width = attention.valid
    device = attention.values.device
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    places: Tensor = rows[:, None] * attention.grid[1] + columns
    return places.flatten()
