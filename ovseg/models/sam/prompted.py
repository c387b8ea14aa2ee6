"""SAM: a picture is encoded once, then points, boxes and masks are answered with a mask each.

Source: SAM (arXiv 2304.02643); `segment_anything/predictor.py`.

Letters: n prompts, c channels, h w the encoder's grid, m side of mask prompts.
"""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.models.sam.architecture import PATCH, SamSize
from ovseg.models.sam.decoder import decode_first_mask
from ovseg.models.sam.encoder import encode_pixels, set_matmul_dtype
from ovseg.models.sam.picture import enlarge_masks, input_size, network_input
from ovseg.models.sam.weights import load_sam
from ovseg.types import Features, Image, MaskPrompts, MaskProposals

CPU_PROMPTS = 2
GPU_PROMPTS = 32
"""Prompts answered together; more of them leave a processor's cache between two steps."""


class Sam(nn.Module):
    """SAM as a mask generator that is prompted; its parameters are frozen.

    Args:
        image_encoder, prompt_encoder, mask_decoder: the package's modules.
        size: of these.
        weights_name: of its published weights; None if it has none.
        mask_prompt: how mask prompts are embedded. ``official`` is what Trident does: each without a batch
            dimension, so that SAM's norms take the mask's rows for their channels. ``batched`` is what SAM
            was trained with.
    """

    def __init__(
        self,
        *,
        image_encoder: ImageEncoderViT,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        size: SamSize,
        weights_name: str | None,
        mask_prompt: Literal["official", "batched"],
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.size = size
        self.weights_name = weights_name
        self.mask_prompt = mask_prompt
        self.requires_grad_(False).eval()

    @property
    def input_side(self) -> int:
        """Side of the network input in pixels."""
        return self.size.image_size

    @property
    def mask_prompt_side(self) -> int:
        """Side of mask prompts, and of the masks that are the answers: a quarter of the input's."""
        return 4 * (self.size.image_size // PATCH)

    @torch.no_grad()
    def encode(self, image: Image) -> Features:
        """Look at a picture.

        Returns:
            `dense` is the encoder's output, in `pyramid` at stride 16; `image_size` is the part of the
            network input that shows the picture; `last_attention.valid` are the positions that this part
            fills (at least one along each side).
        """
        side = self.size.image_size
        shown = input_size(image.shape[:2], side)
        valid = (max(1, shown[0] // PATCH), max(1, shown[1] // PATCH))
        pixels = network_input(image, side, self.image_encoder.pos_embed.device)
        dense, attention = encode_pixels(self.image_encoder, pixels, valid)
        return Features(pyramid={PATCH: dense}, dense=dense, image_size=shown, last_attention=attention)

    @torch.no_grad()
    def forward(self, features: Features, prompts: MaskPrompts | None = None) -> MaskProposals:
        """One mask and its predicted IoU per prompt, in the order of the prompts.

        Args:
            features: of one picture, from `encode`.
            prompts: points and boxes in pixels of the network input; masks as logits on a grid of
                `mask_prompt_side` (256 for the published sizes).

        Returns:
            Logits (1, n, m, m) and scores (1, n); `enlarge` brings them to the picture.

        Raises:
            ConfigError: there are no prompts.
        """
        if prompts is None:
            raise ConfigError(
                "The mask generator 'sam' answers prompts, and this method gives it none. Choose "
                "model/mask_generator=sam_automatic, which needs none."
            )
        given = (prompts.points, prompts.boxes, prompts.masks)
        count = next(len(prompt) for prompt in given if prompt is not None)
        logits = features.dense.new_empty(1, count, self.mask_prompt_side, self.mask_prompt_side)
        scores = features.dense.new_empty(1, count)
        positions = self.prompt_encoder.get_dense_pe()
        at_once = CPU_PROMPTS if logits.device.type == "cpu" else GPU_PROMPTS
        for start in range(0, count, at_once):
            some = slice(start, start + at_once)
            points, boxes, masks = (None if prompt is None else prompt[some] for prompt in given)
            sparse, dense = self.embed_prompts(points, boxes, masks)
            logits[0, some], scores[0, some] = decode_first_mask(
                self.mask_decoder, features.dense, positions, sparse, dense
            )
        return MaskProposals(logits=logits, scores=scores)

    def embed_prompts(
        self,
        points: Float[Tensor, "n 2"] | None,
        boxes: Float[Tensor, "n 4"] | None,
        masks: Float[Tensor, "n m m"] | None,
    ) -> tuple[Float[Tensor, "n tokens c"], Float[Tensor, "_ c h w"]]:
        """Prompts as tokens, and as a map that is added to the picture's features, one or one per prompt."""
        labelled = None if points is None else (points[:, None], points.new_ones(len(points), 1))
        batched = masks[:, None] if masks is not None and self.mask_prompt == "batched" else None
        sparse, dense = self.prompt_encoder(points=labelled, boxes=boxes, masks=batched)
        if masks is None:
            return sparse, dense[:1]
        if self.mask_prompt == "official":
            dense = torch.stack([self.prompt_encoder(None, None, mask[None])[1] for mask in masks])
        return sparse.expand(len(masks), -1, -1), dense

    def enlarge(
        self, logits: Float[Tensor, "n h w"], features: Features, size: tuple[int, int]
    ) -> Float[Tensor, "n H W"]:
        """Mask logits, brought to `size` (height, width) of the picture that was encoded."""
        return enlarge_masks(logits, self.size.image_size, features.image_size, size)

    def load_weights(self, path: Path) -> None:
        """Fill from an official file.

        Raises:
            WeightsError: the file is damaged, no SAM, or a SAM of another size.
        """
        load_sam(self, self.size, path)

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Encode pictures with products in another number format; prompts and masks stay in float32."""
        set_matmul_dtype(self.image_encoder, dtype)
