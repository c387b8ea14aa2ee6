"""Small CLIPs with seeded weights, for tests that need a text tower."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from golden.seed_weights import seed_tensor
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from ovseg.models.common.text import ClipTextEncoder

GOLDEN = Path(__file__).parents[1] / "golden" / "fcclip"


def seed_clip(clip: nn.Module, salt: int) -> None:
    """Fill a CLIP with the weights that the golden files were made with."""
    with torch.no_grad():
        for key, value in clip.state_dict().items():
            seeded = seed_tensor(f"backbone.clip_model.{key}", value.shape, value.dtype, 1.0, salt)
            if seeded is not None:
                value.copy_(seeded)


def tiny_clip(*, quick_gelu: bool = False, salt: int = 1, layers: int = 3, **text_cfg: Any) -> open_clip.CLIP:
    """A CLIP whose image tower is next to nothing."""
    clip = open_clip.CLIP(
        embed_dim=48,
        quick_gelu=quick_gelu,
        vision_cfg={"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
        text_cfg={"width": 64, "heads": 2, "layers": layers, **text_cfg},
    )
    seed_clip(clip, salt)
    return clip.eval()


@cache
def golden_clip(name: str) -> open_clip.CLIP:
    """The CLIP of a golden file, ``tiny`` or ``tiny_rn``; shared, so not to be changed."""
    about = json.loads((GOLDEN / f"{name}.json").read_text())
    clip = open_clip.CLIP(**about["clip_config"])
    seed_clip(clip, about["salt"])
    return clip.eval()


class Encoder:
    """A `TextEncoder` of a text tower alone, which counts the prompts that it is given."""

    def __init__(self, clip: open_clip.CLIP) -> None:
        self._tower = ClipTextEncoder(clip, SimpleTokenizer())
        self.prompts: list[str] = []

    def encode_text(self, prompts):
        self.prompts += prompts
        return self._tower.encode(prompts)

    def text_fingerprint(self):
        return self._tower.fingerprint()
