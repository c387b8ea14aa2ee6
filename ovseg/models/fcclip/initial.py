"""What training from scratch starts with, where it is not torch's own choice for the kind of layer.

Source: Deformable DETR (arXiv 2010.04159), appendix A.4, for the first places that are looked at; official
`ms_deform_attn.py`, `msdeformattn.py` and `mask2former_transformer_decoder.py`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def xavier(*layers: nn.Linear | nn.Conv2d, keep_bias: bool = False) -> None:
    """Xavier-uniform weights, and biases of zero unless torch's are to stay."""
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None and not keep_bias:
            nn.init.zeros_(layer.bias)


def caffe(layer: nn.Conv2d) -> None:
    """Uniform weights of variance 1 / inputs, Caffe2's "XavierFill", and biases of zero."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def star(offsets: nn.Linear, *, heads: int, levels: int, points: int) -> None:
    """Places that do not depend on the query: each head looks along a direction of its own.

    Point i of a head lies i + 1 cells away, counted along the longer axis.
    """
    nn.init.zeros_(offsets.weight)
    angle = torch.arange(heads, dtype=torch.float32, device=offsets.bias.device) * (2 * math.pi / heads)
    direction: Float[Tensor, "m 2"] = torch.stack([angle.cos(), angle.sin()], -1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    distance = torch.arange(1, points + 1, device=direction.device)[:, None]
    places = direction[:, None, None] * distance  # (m, 1, p, 2)
    offsets.bias.copy_(places.expand(-1, levels, -1, -1).flatten())
