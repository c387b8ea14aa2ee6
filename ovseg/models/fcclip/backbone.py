"""The one frozen convolutional CLIP that everything in FC-CLIP stands on.

Source: FC-CLIP (arXiv 2308.02487), sections 3.2 and 3.3; official `fcclip/modeling/backbone/clip.py`. It
proposes masks from the pyramid and names them from the last map, mask-pooled into text space.

Letters: b pictures, q masks, c channels, e text-space dimensions, h w the grid at stride 32.
"""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.models.common.clip import build_clip
from ovseg.models.common.frozen_clip import FrozenClip
from ovseg.models.common.pooling import mask_pool
from ovseg.models.fcclip.convnext import convnext_stages
from ovseg.types import BackboneSpec, Features
from ovseg.weights.parts import published_name

CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_STD = (68.5005327, 66.6321579, 70.32316305)
STRIDES = (4, 8, 16, 32)


class ClipConvNext(FrozenClip):
    """CLIP with a ConvNeXt image tower; arguments as `FrozenClip`."""

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        """Pyramid at strides 4, 8, 16, 32; `dense` is the last of them, before the head's norm."""
        stages = convnext_stages(self.clip.visual.trunk, images.to(self.dtype))
        maps = [stage.float() for stage in stages]
        size = (images.shape[-2], images.shape[-1])
        pyramid = dict(zip(STRIDES, maps, strict=True))
        return Features(pyramid=pyramid, dense=maps[-1], image_size=size, images=images)

    @torch.no_grad()
    def project(self, vectors: Float[Tensor, "*n c"]) -> Float[Tensor, "*n e"]:
        """The head's norm and perceptron, as if each vector were a picture pooled to one position."""
        norm = self.clip.visual.trunk.head.norm
        x = F.layer_norm(vectors.to(self.dtype), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        projected: Tensor = self.clip.visual.head(x.flatten(0, -2)).float().unflatten(0, vectors.shape[:-1])
        return projected

    @torch.no_grad()
    def pool(self, features: Features, masks: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q e"]:
        """Mean over the positive pixels of each mask, projected (paper, equation 4)."""
        return self.project(mask_pool(features.dense, masks))


class ClipResNet(FrozenClip):
    """CLIP with OpenAI's modified ResNet and its attention pool; arguments as `FrozenClip`."""

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        """Pyramid at strides 4, 8, 16, 32; `dense` is the last of them, before the attention pool."""
        tower = self.clip.visual
        x = tower.stem(images.to(self.dtype).contiguous(memory_format=torch.channels_last))
        maps = []
        for layer in (tower.layer1, tower.layer2, tower.layer3, tower.layer4):
            x = layer(x)
            maps.append(x.float())
        size = (images.shape[-2], images.shape[-1])
        pyramid = dict(zip(STRIDES, maps, strict=True))
        return Features(pyramid=pyramid, dense=maps[-1], image_size=size, images=images)

    @torch.no_grad()
    def project(self, vectors: Float[Tensor, "*n c"]) -> Float[Tensor, "*n e"]:
        """The attention pool's value and output projections: attention to one position alone."""
        attention = self.clip.visual.attnpool
        projected: Tensor = attention.c_proj(attention.v_proj(vectors.to(self.dtype)))
        return projected.float()

    @torch.no_grad()
    def pool(self, features: Features, masks: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q e"]:
        """CLIP's own attention pool, each mask's attention kept to its positive pixels.

        A mask without any gets the output projection's bias, the value of an attention to nothing.
        """
        attention = self.clip.visual.attnpool
        dense = features.dense.to(self.dtype)
        query, keys = _positioned(attention, dense)
        heads = attention.num_heads
        q = attention.q_proj(query).unflatten(-1, (heads, -1))
        k = attention.k_proj(keys).unflatten(-1, (heads, -1))
        v = attention.v_proj(keys).unflatten(-1, (heads, -1))
        scores = torch.einsum("bhd,bnhd->bhn", q, k) / q.shape[-1] ** 0.5
        blocked = (masks <= 0).flatten(2)[:, None]  # (b, 1, q, n)
        weights = scores[:, :, None].masked_fill(blocked, float("-inf")).softmax(-1).nan_to_num(0.0)
        pooled = torch.einsum("bhqn,bnhd->bqhd", weights, v).flatten(2)
        projected: Tensor = attention.c_proj(pooled)
        return projected.float()


def _positioned(
    attention: AttentionPool2d, dense: Float[Tensor, "b c h w"]
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b n c"]]:
    """The pool's query (mean of the map) and its keys, each with its learned position, resized to the map."""
    position = attention.positional_embedding.to(dense.dtype)
    side = round((position.shape[0] - 1) ** 0.5)
    grid = position[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=dense.shape[-2:], mode="bilinear", align_corners=False)
    query = dense.mean((-2, -1)) + position[0]
    return query, (dense + grid).flatten(2).transpose(1, 2)


def clip_convnext(*, architecture: str, pretrained: str | None = None) -> ClipConvNext:
    """Build from open_clip's names (or an architecture file), without weights.

    Args:
        architecture: for example convnext_large_d_320, or the path of a JSON file in open_clip's format.
        pretrained: open_clip's tag of the weights for a checkpoint without the frozen CLIP.

    Raises:
        ConfigError: open_clip does not know the architecture, or its image tower is no ConvNeXt.
    """
    clip, tokenizer = build_clip(architecture, pretrained)
    trunk: Any = getattr(clip.visual, "trunk", None)
    if not hasattr(trunk, "stages"):
        raise ConfigError(
            f"'{architecture}' has no ConvNeXt image tower. For ResNets say model/backbone=clip_rn50 (or "
            "another clip_rn*); ConvNeXts are called convnext_* in open_clip."
        )
    widths = [info["num_chs"] for info in trunk.feature_info]
    spec = _spec(clip, widths)
    return ClipConvNext(
        clip=clip, tokenizer=tokenizer, spec=spec, weights_name=published_name(architecture, pretrained)
    )


def clip_resnet(*, architecture: str, pretrained: str | None = None) -> ClipResNet:
    """Build from open_clip's names (or an architecture file), without weights; arguments as `clip_convnext`.

    Raises:
        ConfigError: open_clip does not know the architecture, or its image tower is no CLIP ResNet.
    """
    clip, tokenizer = build_clip(architecture, pretrained)
    if not isinstance(getattr(clip.visual, "attnpool", None), AttentionPool2d):
        raise ConfigError(
            f"'{architecture}' has no CLIP ResNet image tower. Allowed are RN50, RN101, RN50x4, RN50x16 and "
            "RN50x64; for ConvNeXts say model/backbone=clip_convnext_large_d_320."
        )
    last = clip.visual.layer4[-1].bn3.num_features
    spec = _spec(clip, [last // 8, last // 4, last // 2, last])
    return ClipResNet(
        clip=clip, tokenizer=tokenizer, spec=spec, weights_name=published_name(architecture, pretrained)
    )


def _spec(clip: open_clip.CLIP, widths: Sequence[int]) -> BackboneSpec:
    return BackboneSpec(
        channels=dict(zip(STRIDES, widths, strict=True)),
        dense_channels=widths[-1],
        embed_dim=clip.text_projection.shape[1],
        pixel_mean=CLIP_MEAN,
        pixel_std=CLIP_STD,
    )
