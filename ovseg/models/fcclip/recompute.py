"""Layers whose inner values are computed again in the backward pass instead of being kept."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def apply_layer(layer: nn.Module, *inputs: object, recompute: bool) -> Float[Tensor, "..."]:
    """``layer(*inputs)``; with `recompute` only the inputs are kept. The layers draw no random numbers."""
    if not recompute:
        plain: Tensor = layer(*inputs)
        return plain
    again: Tensor = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
    return again
