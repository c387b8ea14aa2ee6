"""DINO: self-supervised vision transformers whose features say what belongs together.

Source: Emerging Properties in Self-Supervised Vision Transformers (arXiv 2104.14294); official
`vision_transformer.py` of facebookresearch/dino. The modules are timm's, which have the same keys; positions
are resized by DINO's rule and not by timm's.

Letters: b pictures, c channels, h w the grid of patches.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ovseg.models.common.positions import resize_positions
from ovseg.models.common.vit import (
    BlockLayers,
    as_map,
    embed,
    grid_of,
    layer_norm,
    run_block,
    set_matrix_dtype,
)
from ovseg.models.dino.architecture import build_vit
from ovseg.types import Features, ImageSpec
from ovseg.weights.checkpoint import load_strict, read_state_dict

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Dino(nn.Module):
    """A frozen vision transformer, read at its last norm.

    Args:
        vit: the model, of the plain kind that `dino` makes; it stays in eval mode for good.
        weights_name: of its published weights, or the path of a file; None if it has none.
    """

    def __init__(self, *, vit: VisionTransformer, weights_name: str | None) -> None:
        super().__init__()
        self.vit = vit.requires_grad_(False).eval()
        self.weights_name = weights_name
        self.spec = ImageSpec(
            channels={_patch(vit): vit.embed_dim},
            dense_channels=vit.embed_dim,
            pixel_mean=IMAGENET_MEAN,
            pixel_std=IMAGENET_STD,
        )

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """The patches' tokens after the last norm, in float32, as `dense` and the pyramid's only map.

        Raises:
            ConfigError: a side of the pictures is no multiple of the patch.
        """
        vit, patch = self.vit, _patch(self.vit)
        grid = grid_of(images, patch, encoder="DINO")
        positions = resize_positions(vit.pos_embed[0], vit.patch_embed.grid_size, grid)
        x = embed(images, vit.patch_embed.proj, positions, vit.cls_token)
        for block in vit.blocks:
            run_block(_layers(block), x)
        dense = as_map(layer_norm(vit.norm, x[:, 1:]), grid)
        size = (images.shape[-2], images.shape[-1])
        return Features(pyramid={patch: dense}, dense=dense, image_size=size, images=images)

    def train(self, mode: bool = True) -> "Dino":
        """Keep the transformer in eval mode."""
        super().train(mode)
        self.vit.eval()
        return self

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Multiply in another number format; norms, positions and sums stay in float32."""
        set_matrix_dtype(self.vit, dtype)

    def load_weights(self, path: Path) -> None:
        """Fill from a published file, or from a training checkpoint's teacher or student.

        Raises:
            WeightsError: the file is damaged, or of another architecture.
        """
        state = read_state_dict(path)
        prefix = "backbone."
        if any(key.startswith(prefix) for key in state):
            kept = (key for key in state if not key.startswith("head."))
            state = {key.removeprefix(prefix): state[key] for key in kept}
        load_strict(self.vit, state, source=str(path))


def dino(*, architecture: str = "vit_base_patch16_224.dino", pretrained: str | None = "dino_vitb16") -> Dino:
    """Build from timm's names (or a JSON file), without weights.

    Args:
        architecture: a plain vision transformer of timm, or the path of a JSON file with the keyword
            arguments of timm's ``VisionTransformer`` (embed_dim, depth, num_heads, patch_size ...).
        pretrained: what its weights are called in `ovseg.weights.zoo`, or the path of a file; None if its
            weights come with a method's checkpoint.

    Raises:
        ConfigError: timm does not know the architecture, it is no plain vision transformer, or its file is
            damaged.
    """
    return Dino(vit=build_vit(architecture), weights_name=pretrained)


def _layers(block: Block) -> BlockLayers:
    attention, perceptron = block.attn, block.mlp
    return BlockLayers(
        norm1=block.norm1,
        qkv=(attention.qkv.weight, attention.qkv.bias),
        out=(attention.proj.weight, attention.proj.bias),
        norm2=block.norm2,
        up=(perceptron.fc1.weight, perceptron.fc1.bias),
        down=(perceptron.fc2.weight, perceptron.fc2.bias),
        heads=attention.num_heads,
        activation="gelu",
    )


def _patch(vit: VisionTransformer) -> int:
    return int(vit.patch_embed.patch_size[0])
