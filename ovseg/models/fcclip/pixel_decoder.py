"""Pixel decoder: a deformable-attention encoder over three levels and one feature-pyramid step.

Source: Mask2Former (arXiv 2112.01527), section 3.2; official `msdeformattn.py`. Everything runs in float32,
and padding is not masked anywhere, as in the official configs.

Letters: b pictures, c channels, s feature positions of all levels together, h w a grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.models.common.group_norm import group_norm
from ovseg.models.common.linear import linear, mlp
from ovseg.models.fcclip.attention import sine_positions
from ovseg.models.fcclip.deformable_attention import DeformableAttention
from ovseg.models.fcclip.initial import caffe, xavier
from ovseg.models.fcclip.recompute import apply_layer

GROUPS = 32


@dataclass(frozen=True)
class DecodedPixels:
    """What the mask decoder works on.

    Attributes:
        mask_features: at stride 4; a mask's logits are their dot products with its embedding.
        levels: the encoder's output at strides 32, 16 and 8, in this order.
    """

    mask_features: Float[Tensor, "b c h w"]
    levels: tuple[Float[Tensor, "b _ _ _"], ...]


class EncoderLayer(nn.Module):
    """Deformable attention and a perceptron, each added to its input and normalised after."""

    def __init__(self, *, dim: int, heads: int, levels: int, points: int, ffn: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim=dim, heads=heads, levels=levels, points=points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.norm2 = nn.LayerNorm(dim)
        xavier(self.linear1, self.linear2, keep_bias=True)

    def forward(
        self,
        x: Float[Tensor, "b s c"],
        positions: Float[Tensor, "b s c"],
        references: Float[Tensor, "s 2"],
        sizes: Sequence[tuple[int, int]],
    ) -> Float[Tensor, "b s c"]:
        """Refine the features `x` of all levels; positions enter the queries only."""
        x = self.norm1(x + self.attention(x + positions, x, references, sizes))
        first, second = self.linear1, self.linear2
        y = mlp(x, (first.weight, first.bias), (second.weight, second.bias), "relu")
        normalised: Tensor = self.norm2(x + y)
        return normalised


class NormedConv(nn.Module):
    """A convolution without bias, a group norm and, if asked, a ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, outputs)
        caffe(self.conv)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Convolve, normalise, clip."""
        convolved = conv1x1(self.conv, x) if self.conv.kernel_size == (1, 1) else self.conv(x)
        return group_norm(self.norm, convolved, relu=self.relu)


class PixelDecoder(nn.Module):
    """Backbone pyramid to mask features and three decoded levels.

    Args:
        channels: stride -> channels of the backbone's pyramid; strides 4, 8, 16 and 32 are used.
        dim: channels of everything that comes out; a multiple of 32.
        heads, points, layers: of the deformable encoder.
        ffn: hidden size of its perceptrons (1024 in the official code, whatever its config says).
    """

    def __init__(
        self, *, channels: Mapping[int, int], dim: int, heads: int, points: int, layers: int, ffn: int
    ) -> None:
        super().__init__()
        self.strides = (32, 16, 8)
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[stride], dim, 1), nn.GroupNorm(GROUPS, dim))
            for stride in self.strides
        )
        self.level_embed = nn.Parameter(torch.empty(len(self.strides), dim))
        self.layers = nn.ModuleList(
            EncoderLayer(dim=dim, heads=heads, levels=len(self.strides), points=points, ffn=ffn)
            for _ in range(layers)
        )
        self.lateral = NormedConv(channels[4], dim, kernel=1, relu=False)
        self.output = NormedConv(dim, dim, kernel=3, relu=True)
        self.mask_features = nn.Conv2d(dim, dim, 1)
        nn.init.normal_(self.level_embed)
        xavier(*(conv for conv, _ in cast(Sequence[tuple[nn.Conv2d, nn.GroupNorm]], self.input_proj)))
        caffe(self.mask_features)

    def forward(
        self, pyramid: Mapping[int, Float[Tensor, "b _ _ _"]], *, recompute: bool = False
    ) -> DecodedPixels:
        """Decode the pyramid of a backbone; `recompute` trades time for memory in training."""
        levels = self._encode(self._project(pyramid), recompute=recompute)
        fused = self.output(self._add_up(pyramid[4], levels[-1]))
        return DecodedPixels(mask_features=conv1x1(self.mask_features, fused), levels=tuple(levels))

    def _project(self, pyramid: Mapping[int, Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b c _ _"]]:
        projections = cast(Sequence[tuple[nn.Conv2d, nn.GroupNorm]], self.input_proj)
        return [
            group_norm(norm, conv1x1(conv, pyramid[stride]))
            for (conv, norm), stride in zip(projections, self.strides, strict=True)
        ]

    def _add_up(
        self, finest: Float[Tensor, "b i h w"], coarser: Float[Tensor, "b c _ _"]
    ) -> Float[Tensor, "b c h w"]:
        """One step of a feature pyramid: the finest map, projected, plus the coarser one, enlarged."""
        enlarged = F.interpolate(coarser, size=finest.shape[-2:], mode="bilinear", align_corners=False)
        projected: Tensor = self.lateral(finest)
        return projected.add_(enlarged)

    def _encode(
        self, maps: Sequence[Float[Tensor, "b c _ _"]], *, recompute: bool
    ) -> list[Float[Tensor, "b c _ _"]]:
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        device = x.device
        positions = torch.cat(
            [
                sine_positions(*size, x.shape[-1], device=device).flatten(2).transpose(1, 2) + embed
                for size, embed in zip(sizes, self.level_embed, strict=True)
            ],
            1,
        ).expand_as(x)
        references = torch.cat([_cell_centres(*size, device=device) for size in sizes])
        for layer in self.layers:
            x = apply_layer(layer, x, positions, references, sizes, recompute=recompute)
        parts = x.split([h * w for h, w in sizes], dim=1)
        return [part.unflatten(1, size).permute(0, 3, 1, 2) for part, size in zip(parts, sizes, strict=True)]


def conv1x1(conv: nn.Conv2d, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
    """A 1 x 1 convolution as a linear layer over positions; cheap where `x` is in channels-last order."""
    return linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


def _cell_centres(height: int, width: int, *, device: torch.device) -> Float[Tensor, "s 2"]:
    """(x, y) of the centres of a grid's cells in 0..1, row by row."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], -1)
