"""DINO's student and teacher: a vision transformer with a head, and what the one learns of the other.

Source: DINO (arXiv 2104.14294), section 3.1; the patches' term is iBOT's (arXiv 2111.07832), section 3.2,
with one head for both as there.

Letters: b views, n tokens (the class token first), c channels, k prototypes.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ovseg.models.common.positions import resize_positions
from ovseg.models.dino.encoder import IMAGENET_MEAN, IMAGENET_STD

HIDDEN, BOTTLENECK, PROTOTYPES = 256, 64, 512
STUDENT_TEMPERATURE = 0.1
CENTRE_MOMENTUM = 0.9


class DinoModel(nn.Module):
    """A transformer, DINO's head on its tokens, and the token that stands for hidden patches.

    Args:
        backbone: a plain one with a class token; positions are resized by DINO's rule.
    """

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.embed_dim
        self.hidden_patch = nn.Parameter(torch.zeros(width))
        self.head = nn.Sequential(
            nn.Linear(width, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, BOTTLENECK),
        )
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, BOTTLENECK))

    def tokens(self, pixels: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Tokens after the last norm, (b, n, c).

        Args:
            pixels: normalised views (b, 3, side, side).
            hidden: bool (b, patches), patches that are replaced; None for none.
        """
        vit = self.backbone
        x = vit.patch_embed.proj(pixels)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)
        if hidden is not None:
            x = torch.where(hidden[..., None], self.hidden_patch, x)
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + resize_positions(vit.pos_embed[0], vit.patch_embed.grid_size, grid)
        normed: Tensor = vit.norm(vit.blocks(x))
        return normed

    def project(self, tokens: Tensor) -> Tensor:
        """Cosines of tokens (..., c) with the prototypes, (..., k)."""
        return F.linear(F.normalize(self.head(tokens), dim=-1), F.normalize(self.prototypes, dim=-1))


class Centre(nn.Module):
    """The running mean of what the teacher says, which is taken off so that no prototype wins everything."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(PROTOTYPES))
        self.mean: Tensor

    def sharpened(self, cosines: Tensor, temperature: float) -> Tensor:
        """The teacher's distributions (rows, k); afterwards the mean takes in these rows."""
        found = ((cosines - self.mean) / temperature).softmax(-1)
        self.mean.lerp_(cosines.mean(0), 1 - CENTRE_MOMENTUM)
        return found


def normalised(views: np.ndarray, device: torch.device) -> Tensor:
    """Views, uint8 (b, side, side, 3), to what the transformer takes, (b, 3, side, side)."""
    pixels = torch.from_numpy(views).to(device).float()
    mean, std = (torch.tensor(value, device=device) for value in (IMAGENET_MEAN, IMAGENET_STD))
    return ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()


def cross_entropy(wanted: Tensor, cosines: Tensor) -> Tensor:
    """Of the student's distribution with the teacher's, mean over rows."""
    return -(wanted * (cosines / STUDENT_TEMPERATURE).log_softmax(-1)).sum(-1).mean()


def between_views(wanted: Tensor, cosines: Tensor) -> Tensor:
    """DINO's loss: the mean over all pairs of a teacher's view and another view of the student.

    Args:
        wanted: (pictures, large views, k) distributions.
        cosines: (pictures, views, k); the large views first, in the same order.
    """
    pairs = [
        cross_entropy(wanted[:, teacher], cosines[:, student])
        for teacher in range(wanted.shape[1])
        for student in range(cosines.shape[1])
        if student != teacher
    ]
    return torch.stack(pairs).mean()


def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's weights towards the student's."""
    with torch.no_grad():
        for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)


def rising(share: float, low: float, high: float) -> float:
    """From `low` to `high` by half a cosine, for a share of the training that is done."""
    return high - (high - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
