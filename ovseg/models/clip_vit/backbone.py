"""CLIP with a vision transformer, whose last block a training-free method replaces.

Source: CLIP (arXiv 2103.00020); README.md says where the last blocks are from.

Letters: b windows of one picture, q masks, c channels, e text-space dimensions, h w a grid of tokens.
"""

import open_clip
import torch
from jaxtyping import Float
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from ovseg.interfaces import ImageEncoder, LastBlock
from ovseg.models.clip_vit.tower import check_tower, project, tokens_before_last_block
from ovseg.models.common.clip import build_clip
from ovseg.models.common.frozen_clip import FrozenClip
from ovseg.models.common.pooling import mask_pool
from ovseg.models.common.vit import grid_of, set_matrix_dtype
from ovseg.types import BackboneSpec, Features
from ovseg.weights.parts import published_name

PIXEL_MEAN = (122.771, 116.746, 104.094)
PIXEL_STD = (68.501, 66.632, 70.323)
"""CLIP's own constants times 255, rounded as the official segmentors of this family have them in their
configs (SCLIP, NACLIP, ProxyCLIP, Trident)."""


class ClipViT(FrozenClip):
    """CLIP with a vision transformer.

    Args:
        clip: the model, with an image tower that `check_tower` accepts.
        tokenizer: of its text tower.
        spec: of its image tower.
        weights_name: see `FrozenClip`.
        last_block: runs in place of the tower's last block.
    """

    def __init__(
        self,
        *,
        clip: open_clip.CLIP,
        tokenizer: SimpleTokenizer,
        spec: BackboneSpec,
        weights_name: str | None,
        last_block: LastBlock,
    ) -> None:
        super().__init__(clip=clip, tokenizer=tokenizer, spec=spec, weights_name=weights_name)
        self.last_block = last_block

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """What the last block makes of the windows of ONE picture, before CLIP's last norm and projection.

        `dense` and the pyramid's only map are that, in float32; a last block may give another grid than that
        of the patches. The last block may compare windows, so pictures are not mixed in one batch.

        Raises:
            ConfigError: a side of the windows is no multiple of the patch.
        """
        tower, patch = self.clip.visual, self._patch
        grid = grid_of(images, patch, encoder="CLIP")
        tokens = tokens_before_last_block(tower, images, grid)
        dense = self.last_block(tower.transformer.resblocks[-1], tokens, grid, images)
        size = (images.shape[-2], images.shape[-1])
        return Features(pyramid={patch: dense}, dense=dense, image_size=size, images=images)

    @torch.no_grad()
    def project(self, vectors: Float[Tensor, "*n c"]) -> Float[Tensor, "*n e"]:
        """The last norm and projection, which CLIP itself applies to the class token; not normalised."""
        return project(self.clip.visual, vectors)

    @torch.no_grad()
    def pool(self, features: Features, masks: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q e"]:
        """Mean of the projected tokens over the positive pixels of each mask."""
        projected = self.project(features.dense.permute(0, 2, 3, 1))
        return mask_pool(projected.permute(0, 3, 1, 2), masks)

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Multiply in another number format, in the last block's encoder too; norms and sums stay float32."""
        set_matrix_dtype(self.clip.visual, dtype)
        if isinstance(self.last_block, nn.Module):
            for part in self.last_block.modules():
                if isinstance(part, ImageEncoder):
                    part.set_image_dtype(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the image tower's matrix products."""
        dtype: torch.dtype = self.clip.visual.conv1.weight.dtype
        return dtype

    @property
    def _patch(self) -> int:
        return int(self.clip.visual.patch_size[0])


def clip_vit(*, architecture: str, last_block: LastBlock, pretrained: str | None = None) -> ClipViT:
    """Build from open_clip's names (or an architecture file), without weights.

    Args:
        architecture: for example ViT-B-16, or the path of a JSON file in open_clip's format.
        last_block: runs in place of the tower's last block.
        pretrained: of its weights open_clip's tag, the listed name, or the path of a file.

    Raises:
        ConfigError: open_clip does not know the architecture, or its image tower is no plain ViT.
    """
    clip, tokenizer = build_clip(architecture, pretrained)
    check_tower(clip, architecture)
    tower = clip.visual
    width = tower.conv1.out_channels
    spec = BackboneSpec(
        channels={int(tower.patch_size[0]): width},
        dense_channels=width,
        embed_dim=tower.proj.shape[1],
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
    )
    return ClipViT(
        clip=clip,
        tokenizer=tokenizer,
        spec=spec,
        weights_name=published_name(architecture, pretrained),
        last_block=last_block,
    )
