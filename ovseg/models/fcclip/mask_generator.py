"""The Mask2Former of FC-CLIP as a mask generator."""

from torch import nn

from ovseg.errors import ConfigError
from ovseg.models.fcclip.mask_decoder import MaskDecoder
from ovseg.models.fcclip.pixel_decoder import GROUPS, PixelDecoder
from ovseg.types import BackboneSpec, Features, MaskPrompts, MaskProposals


class Mask2Former(nn.Module):
    """Backbone pyramid to class-agnostic masks at stride 4 (arXiv 2112.01527).

    Args:
        backbone: whose pyramid has strides 4, 8, 16 and 32.
        hidden_dim: channels of both decoders.
        queries: proposals per picture.
        heads: of every attention.
        points: places per level and head of the deformable attention.
        encoder_layers, encoder_ffn: of the pixel decoder.
        decoder_layers, decoder_ffn: of the mask decoder (the official DEC_LAYERS counts one more).

    Raises:
        ConfigError: the sizes do not divide, or the backbone lacks a stride.
    """

    def __init__(
        self,
        *,
        backbone: BackboneSpec,
        hidden_dim: int = 256,
        queries: int = 250,
        heads: int = 8,
        points: int = 4,
        encoder_layers: int = 6,
        encoder_ffn: int = 1024,
        decoder_layers: int = 9,
        decoder_ffn: int = 2048,
    ) -> None:
        super().__init__()
        if hidden_dim % GROUPS or hidden_dim % heads:
            raise ConfigError(
                f"mask2former: hidden_dim={hidden_dim} must be a multiple of {GROUPS} and of heads={heads}."
            )
        lacking = {4, 8, 16, 32} - set(backbone.channels)
        if lacking:
            raise ConfigError(
                "mask2former needs a backbone with strides 4, 8, 16 and 32; "
                f"this one lacks {sorted(lacking)}."
            )
        self.pixel_decoder = PixelDecoder(
            channels=backbone.channels,
            dim=hidden_dim,
            heads=heads,
            points=points,
            layers=encoder_layers,
            ffn=encoder_ffn,
        )
        self.mask_decoder = MaskDecoder(
            dim=hidden_dim, queries=queries, heads=heads, layers=decoder_layers, ffn=decoder_ffn
        )

    def forward(self, features: Features, prompts: MaskPrompts | None = None) -> MaskProposals:
        """Propose masks; with `train()` on, those of the earlier layers too. Takes no prompts."""
        pixels = self.pixel_decoder(features.pyramid)
        proposals: MaskProposals = self.mask_decoder(pixels, keep_earlier=self.training)
        return proposals
