"""Mask decoder: learned queries that look at the picture through their own masks.

Source: Mask2Former (arXiv 2112.01527), section 3.2.2; official `mask2former_transformer_decoder.py` as
FC-CLIP changed it: there is no class head here, naming is the classifier's work.

Letters: b pictures, q queries, c channels, h w a grid, s its positions.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ovseg.models.common.linear import mlp
from ovseg.models.fcclip.attention import MultiHeadAttention, Perceptron, sine_positions
from ovseg.models.fcclip.initial import xavier
from ovseg.models.fcclip.pixel_decoder import DecodedPixels
from ovseg.models.fcclip.recompute import apply_layer
from ovseg.types import MaskProposals

LEVELS = 3


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention and a perceptron, each normalised after its residual sum."""

    def __init__(self, *, dim: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.cross_attention = MultiHeadAttention(dim=dim, heads=heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = MultiHeadAttention(dim=dim, heads=heads)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        xavier(self.linear1, self.linear2, keep_bias=True)

    def forward(
        self,
        x: Float[Tensor, "b q c"],
        query_positions: Float[Tensor, "q c"],
        memory: Float[Tensor, "b s c"],
        memory_positions: Float[Tensor, "1 s c"],
        blocked: Bool[Tensor, "b q s"],
    ) -> Float[Tensor, "b q c"]:
        """Update the queries `x`; positions enter queries and keys, never values."""
        keys = memory + memory_positions
        x = self.cross_norm(x + self.cross_attention(x + query_positions, keys, memory, blocked))
        placed = x + query_positions
        x = self.self_norm(x + self.self_attention(placed, placed, x))
        first, second = self.linear1, self.linear2
        y = mlp(x, (first.weight, first.bias), (second.weight, second.bias), "relu")
        normalised: Tensor = self.ffn_norm(x + y)
        return normalised


class MaskDecoder(nn.Module):
    """Decoded pixels to mask proposals.

    Args:
        dim: channels of queries, levels and mask features.
        queries: number of proposals.
        heads, layers, ffn: of the transformer; the levels at strides 32, 16 and 8 take turns.
    """

    def __init__(self, *, dim: int, queries: int, heads: int, layers: int, ffn: int) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(queries, dim)
        self.query_embed = nn.Embedding(queries, dim)
        self.level_embed = nn.Embedding(LEVELS, dim)
        self.layers = nn.ModuleList(DecoderLayer(dim=dim, heads=heads, ffn=ffn) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.mask_embed = Perceptron(dim, dim, dim, dim)

    def forward(self, pixels: DecodedPixels, *, keep_earlier: bool, recompute: bool = False) -> MaskProposals:
        """Decode masks.

        Args:
            pixels: of the pixel decoder.
            keep_earlier: also return the proposals before the first and after every layer but the last, for
                deep supervision.
            recompute: trade time for memory in training.
        """
        memories, positions = self._memories(pixels.levels)
        guides = [
            F.interpolate(pixels.mask_features, size=level.shape[-2:], mode="bilinear", align_corners=False)
            for level in pixels.levels
        ]
        batch = pixels.mask_features.shape[0]
        x = self.query_feat.weight.expand(batch, -1, -1)
        earlier: list[MaskProposals] = []
        for index, layer in enumerate(self.layers):
            if keep_earlier:
                earlier.append(self._propose(x, pixels))
            turn = index % LEVELS
            blocked = self._blocked(x, guides[turn])
            inputs = (x, self.query_embed.weight, memories[turn], positions[turn], blocked)
            x = apply_layer(layer, *inputs, recompute=recompute)
        last = self._propose(x, pixels)
        return MaskProposals(
            logits=last.logits,
            pixel_features=last.pixel_features,
            queries=last.queries,
            earlier=tuple(earlier),
        )

    def _memories(
        self, levels: Sequence[Float[Tensor, "b c _ _"]]
    ) -> tuple[list[Float[Tensor, "b _ c"]], list[Float[Tensor, "1 _ c"]]]:
        memories, positions = [], []
        for level, embed in zip(levels, self.level_embed.weight, strict=True):
            memories.append(level.flatten(2).transpose(1, 2) + embed)
            place = sine_positions(level.shape[-2], level.shape[-1], level.shape[1], device=level.device)
            positions.append(place.flatten(2).transpose(1, 2))
        return memories, positions

    def _propose(self, x: Float[Tensor, "b q c"], pixels: DecodedPixels) -> MaskProposals:
        queries = self.norm(x)
        # Positions first, masks second: the order in which masks are pooled with and merged.
        rows = pixels.mask_features.flatten(2).transpose(1, 2) @ self.mask_embed(queries).transpose(1, 2)
        logits = rows.transpose(1, 2).unflatten(-1, pixels.mask_features.shape[-2:])
        return MaskProposals(logits=logits, pixel_features=pixels.mask_features, queries=queries)

    @torch.no_grad()
    def _blocked(self, x: Float[Tensor, "b q c"], guide: Float[Tensor, "b c h w"]) -> Bool[Tensor, "b q s"]:
        """Where the queries' present masks are off; a query whose mask is off everywhere looks everywhere.

        The official code resizes every mask to the level. Resizing is linear, so the mask features are
        resized once per level instead and give the same logits with a sixteenth of the work or less.
        """
        logits = self.mask_embed(self.norm(x)) @ guide.flatten(2)
        blocked: Tensor = logits.sigmoid() < 0.5
        return blocked & ~blocked.all(-1, keepdim=True)
