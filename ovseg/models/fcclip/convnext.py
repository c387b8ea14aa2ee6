"""The four stages of timm's ConvNeXt, run without gradients in channels-last memory order.

Source: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545); modules of `timm.models.convnext`, which are
called or read here, not copied. Differs from their own forward in speed only: the features stay channels-last
from the stem to the end, so that no block copies them into another order, and what a block does after its
convolution runs in slices.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.convnext import ConvNeXt, ConvNeXtBlock
from torch import Tensor

from ovseg.models.common.linear import prepared
from ovseg.models.common.residual import add_mlp


def convnext_stages(trunk: ConvNeXt, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
    """Outputs of the stages, at strides 4, 8, 16 and 32, the last after the trunk's norm if it has one.

    The trunk computes in the number format of `images`, which is its own; the sums of the residual branches
    are kept in float32, where dozens of small terms do not get lost, and so are the outputs.
    """
    dtype = images.dtype
    x = trunk.stem(images.contiguous(memory_format=torch.channels_last)).float()
    taps: list[Tensor] = []
    for stage in trunk.stages:
        x = stage.downsample(x.to(dtype)).float().contiguous(memory_format=torch.channels_last)
        for block in stage.blocks:
            x = _block(block, x, dtype)
        taps.append(x)
    taps[-1] = trunk.norm_pre(taps[-1].to(dtype)).float()
    return taps


def _block(block: ConvNeXtBlock, x: Float[Tensor, "b c h w"], dtype: torch.dtype) -> Float[Tensor, "b c h w"]:
    """One block; may change `x` in place."""
    if block.use_conv_mlp or not isinstance(block.shortcut, torch.nn.Identity):
        y: Tensor = block(x.to(dtype)).float()
        return y
    norm, fc1, fc2, places = block.norm, block.mlp.fc1, block.mlp.fc2, x[:, 0].numel()
    add_mlp(
        x.permute(0, 2, 3, 1),
        block.conv_dw(x.to(dtype)).permute(0, 2, 3, 1),
        lambda rows: F.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps),
        prepared(fc1.weight, fc1.bias, "gelu", rows=places),
        prepared(fc2.weight, fc2.bias, rows=places),
        block.gamma,
    )
    return x
