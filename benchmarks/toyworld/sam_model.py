"""SAM's three modules as one, for training: a picture's embedding, prompts answered with masks, their losses.

Source: Segment Anything (arXiv 2304.02643), appendix A.

Letters: b pictures, n prompts of one picture, c channels, h w the encoder's grid, m side of masks.
"""

import numpy as np
import torch
import torch.nn.functional as F
from sam_prompts import Prompts
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos
from torch import Tensor, nn

from ovseg.models.sam.architecture import SamSize, build_parts
from ovseg.models.sam.picture import PIXEL_MEAN, PIXEL_STD

AMBIGUOUS = ("point", "box")
"""Kinds of prompts that are answered with three masks; all others are answered with the first mask."""

FOCAL, DICE = 20.0, 1.0
"""Weights of the two losses of a mask."""

HIGHEST_LOGIT = 32.0
"""Of an answer that becomes a mask prompt."""


class SamModel(nn.Module):
    """The package's modules under the names that the published files have for them."""

    def __init__(self, size: SamSize) -> None:
        super().__init__()
        self.size = size
        self.image_encoder, self.prompt_encoder, self.mask_decoder = build_parts(size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.image_encoder.pos_embed.device

    def embed(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pictures to their embeddings, and to what goes into the last block's attention.

        Args:
            pictures: uint8 (b, side, side, 3), of the network's side.

        Returns:
            (b, c, h, w) and (b, h, w, width).
        """
        pixels = torch.from_numpy(pictures).to(self.device).float()
        mean, std = (torch.tensor(value, device=self.device) for value in (PIXEL_MEAN, PIXEL_STD))
        x = ((pixels - mean) / std).permute(0, 3, 1, 2)
        into_last: list[Tensor] = []
        last = self.image_encoder.blocks[-1].attn
        watching = last.register_forward_pre_hook(lambda _, inputs: into_last.append(inputs[0]))
        with watching, torch.autocast(self.device.type, torch.bfloat16):
            y = self.image_encoder(x)
        return y.float(), into_last[0].float()

    def last_attention(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What the last block looks at, as Trident reads it (arXiv 2411.09219, section 3.3).

        Args:
            tokens: (1, h, w, width), of one picture, as `embed` gives them.

        Returns:
            Logarithms of the weights, mean over heads, (h w, h w), and the values (heads, h w, d).
        """
        attention = self.image_encoder.blocks[-1].attn
        grid = (tokens.shape[1], tokens.shape[2])
        qkv = attention.qkv(tokens).flatten(1, 2).unflatten(-1, (3, attention.num_heads, -1))
        queries, keys, values = qkv[0].permute(1, 2, 0, 3)
        logits = (queries * attention.scale) @ keys.transpose(1, 2)
        logits = add_decomposed_rel_pos(logits, queries, attention.rel_pos_h, attention.rel_pos_w, grid, grid)
        return logits.softmax(-1).mean(0).clamp(min=1e-8).log(), values

    def answer(self, embedding: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """All four masks of each prompt, (n, 4, m, m) logits, and their predicted IoUs, (n, 4).

        Args:
            embedding: (1, c, h, w) of a picture.
            prompts: of the same picture.
        """
        points, labels, boxes, masks = (
            None if part is None else torch.from_numpy(part).to(self.device)
            for part in (prompts.points, prompts.labels, prompts.boxes, prompts.masks)
        )
        sparse, dense = self.prompt_encoder(
            points=None if points is None else (points, labels),
            boxes=boxes,
            masks=None if masks is None else masks[:, None],
        )
        found: tuple[Tensor, Tensor] = self.mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        return found


def answers_for(kind: str) -> slice:
    """Which of the four masks answer a kind of prompt."""
    return slice(1, 4) if kind in AMBIGUOUS else slice(0, 1)


def losses(
    logits: Tensor, quality: Tensor, truth: Tensor, *, balanced: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The best mask's loss and the predicted IoUs' error, means over prompts, and the masks' true IoUs.

    Args:
        logits: (n, a, m, m), the masks that answer the prompts.
        quality: (n, a), their predicted IoUs.
        truth: bool (n, m, m).
        balanced: as `mask_loss`.
    """
    of_mask = mask_loss(logits, truth, balanced=balanced)
    true_iou = iou(logits, truth)
    return of_mask.min(1).values.mean(), F.mse_loss(quality, true_iou), true_iou


def mask_loss(logits: Tensor, truth: Tensor, *, balanced: float) -> Tensor:
    """The loss of each mask, (n, a): the paper's focal (arXiv 1708.02002) and dice losses, 20 to 1.

    Args:
        logits: (n, a, m, m).
        truth: bool (n, m, m).
        balanced: share, 0 to 1, of the focal loss that is replaced with a cross-entropy in which inside and
            outside weigh the same. Most pixels are outside, and a decoder that starts from nothing learns
            from the focal loss to say "outside" everywhere, and stays there for long.
    """
    wanted = truth[:, None].to(logits.dtype).expand_as(logits)
    plain = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    likely = logits.sigmoid()
    area = wanted.mean((2, 3), keepdim=True).clamp(0.01, 0.99)
    even = (plain * torch.where(wanted > 0, 0.5 / area, 0.5 / (1 - area))).mean((2, 3))
    surprise = 1 - (-plain).exp()
    focal = ((0.75 - 0.5 * wanted) * surprise.square() * plain).mean((2, 3))
    common = (likely * wanted).sum((2, 3))
    dice = 1 - (2 * common + 1) / (likely.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    return balanced * even + (1 - balanced) * FOCAL * focal + DICE * dice


def grouping_loss(embedding: Tensor, segments: Tensor) -> Tensor:
    """How badly the cosines of an embedding say which places are in one segment.

    A cross-entropy in which pairs within a segment and pairs across two weigh the same.

    Args:
        embedding: (1, c, h, w) of a picture.
        segments: (h, w), ids.
    """
    unit = F.normalize(embedding[0].flatten(1), dim=0)
    same = (segments.flatten()[:, None] == segments.flatten()).float()
    plain = F.binary_cross_entropy_with_logits(10 * (unit.T @ unit) - 5, same, reduction="none")
    return 0.5 * (
        (plain * same).sum() / same.sum() + (plain * (1 - same)).sum() / (1 - same).sum().clamp(min=1)
    )


def correlation_loss(log_weights: Tensor, values: Tensor, segments: Tensor, *, reach: float) -> Tensor:
    """How far the last attention is from looking at what of a place's segment is near, and at nothing else.

    The divergence of each place's weights from a uniform look at that, every segment counting the same, and
    `grouping_loss` of each head's values, since Trident compares these too.

    Args:
        log_weights: (h w, h w) and
        values: (heads, h w, d), as `SamModel.last_attention` gives them.
        segments: (h, w), ids.
        reach: the distance up to which a place is near, in places; infinity for whole segments.
    """
    same = (segments.flatten()[:, None] == segments.flatten()).float()
    area = same.sum(1)
    y, x = torch.meshgrid(*(torch.arange(side, device=same.device) for side in segments.shape), indexing="ij")
    grid = torch.stack([y.flatten(), x.flatten()], 1).float()
    wanted = same * (torch.cdist(grid, grid) <= reach)
    seen = wanted.sum(1)
    divergence = -(wanted * log_weights).sum(1) / seen - seen.log()
    looking = (divergence / area).sum() / (1 / area).sum()
    heads = [grouping_loss(head.T.unflatten(1, segments.shape)[None], segments) for head in values]
    return looking + sum(heads) / len(heads)


def iou(logits: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each mask with the truth, (n, a); 0 where both are empty."""
    said, wanted = logits.detach() > 0, truth[:, None]
    union = (said | wanted).sum((2, 3))
    return (said & wanted).sum((2, 3)) / union.clamp(min=1)


def chosen(logits: Tensor, quality: Tensor) -> Tensor:
    """Of each prompt's masks (n, a, m, m) the one of the highest predicted IoU, (n, m, m)."""
    return logits.detach()[torch.arange(len(logits)), quality.argmax(1)]
