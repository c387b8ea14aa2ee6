"""The image tower of a CLIP ViT, up to its last block.

Source: CLIP (arXiv 2103.00020), section 2.4; `open_clip.transformer`, whose modules hold the parameters.
"""

from typing import Any

import open_clip
import torch
from jaxtyping import Float
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.models.common.linear import Activation
from ovseg.models.common.positions import resize_positions
from ovseg.models.common.vit import BlockLayers, embed, layer_norm, run_block


def block_layers(block: nn.Module) -> BlockLayers:
    """The layers of one of open_clip's blocks.

    Raises:
        ConfigError: it is of a kind whose arithmetic is not known here.
    """
    if type(block) is not ResidualAttentionBlock:
        raise ConfigError(_unsupported(f"it is made of {type(block).__name__}"))
    if not (isinstance(block.ls_1, nn.Identity) and isinstance(block.ls_2, nn.Identity)):
        raise ConfigError(_unsupported("its blocks scale their branches"))
    parts: Any = block
    attention, up, down = parts.attn, parts.mlp.c_fc, parts.mlp.c_proj
    return BlockLayers(
        norm1=parts.ln_1,
        qkv=(attention.in_proj_weight, attention.in_proj_bias),
        out=(attention.out_proj.weight, attention.out_proj.bias),
        norm2=parts.ln_2,
        up=(up.weight, up.bias),
        down=(down.weight, down.bias),
        heads=attention.num_heads,
        activation=_activation(block),
    )


def tokens_before_last_block(
    tower: VisionTransformer, images: Float[Tensor, "b 3 H W"], grid: tuple[int, int]
) -> Float[Tensor, "b n c"]:
    """Class token and patches after all blocks but the last, in float32.

    Positions follow `resize_positions` and not open_clip's own resizing, which only runs while loading.
    """
    positions = resize_positions(tower.positional_embedding, tower.grid_size, grid)
    x = layer_norm(tower.ln_pre, embed(images, tower.conv1, positions, tower.class_embedding))
    for block in tower.transformer.resblocks[:-1]:
        run_block(block_layers(block), x)
    return x


def check_tower(clip: open_clip.CLIP, architecture: str) -> None:
    """Refuse image towers whose features this package would compute wrongly.

    Raises:
        ConfigError: the image tower is no ViT, or one that differs from CLIP's.
    """
    tower = clip.visual
    if not isinstance(tower, VisionTransformer):
        raise ConfigError(
            f"'{architecture}' has no ViT image tower. For ConvNeXts say "
            "model/backbone=clip_convnext_large_d_320, for ResNets model/backbone=clip_rn50; ViTs are called "
            "ViT-* in open_clip."
        )
    differences = {
        "it pools by attention": tower.attn_pool is not None,
        f"it pools its tokens by '{tower.pool_type}'": tower.pool_type != "tok",
        "it pools before its last norm": tower.final_ln_after_pool,
        "it drops patches": not isinstance(tower.patch_dropout, nn.Identity),
        "it has no first norm": not isinstance(tower.ln_pre, nn.LayerNorm),
        "it has no projection": tower.proj is None,
        f"its patches are {tower.patch_size}": tower.patch_size[0] != tower.patch_size[1],
        "it has a single block": len(tower.transformer.resblocks) < 2,
    }
    for reason, is_so in differences.items():
        if is_so:
            raise ConfigError(_unsupported(reason))
    for block in tower.transformer.resblocks:
        block_layers(block)


def project(tower: VisionTransformer, vectors: Float[Tensor, "*n c"]) -> Float[Tensor, "*n e"]:
    """The last norm and the projection into text space, in float32, not normalised."""
    projected: Tensor = layer_norm(tower.ln_post, vectors) @ tower.proj.to(torch.float32)
    return projected


def _activation(block: ResidualAttentionBlock) -> Activation:
    match block.mlp.gelu:
        case QuickGELU():
            return "quick_gelu"
        case nn.GELU(approximate="none"):
            return "gelu"
        case other:
            raise ConfigError(_unsupported(f"its activation is {other}"))


def _unsupported(reason: str) -> str:
    return (
        f"This CLIP's image tower is not supported: {reason}. Supported are plain ViTs with a class token "
        "and learned positions, for example ViT-B-16, ViT-L-14 and ViT-H-14 of open_clip."
    )
