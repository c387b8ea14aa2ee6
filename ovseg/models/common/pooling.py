"""Means of features inside masks."""

from jaxtyping import Float
from torch import Tensor


def mask_pool(
    features: Float[Tensor, "b c h w"], mask_logits: Float[Tensor, "b q h w"]
) -> Float[Tensor, "b q c"]:
    """Mean feature over the pixels whose mask logit is positive; zeros where there is none.

    No gradient reaches the masks; it does reach the features.

    Source: FC-CLIP, section 3.3; the denominator's 1e-8 is the official code's.
    """
    inside = (mask_logits.detach() > 0).to(features.dtype).flatten(2)
    count = inside.sum(-1, keepdim=True)
    return inside @ features.flatten(2).transpose(1, 2) / (count + 1e-8)
