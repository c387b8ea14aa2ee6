"""The frozen CLIP that backbones stand on: its text side, its weights and its place in text space."""

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from jaxtyping import Float
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from ovseg.models.common.clip import clip_state
from ovseg.models.common.text import ClipTextEncoder
from ovseg.types import BackboneSpec
from ovseg.weights.checkpoint import load_strict, read_state_dict


class FrozenClip(nn.Module):
    """What CLIP backbones share, whatever their image tower: the frozen CLIP and its text side.

    Args:
        clip: the model; its parameters are frozen and it stays in eval mode for good.
        tokenizer: of its text tower.
        spec: channels of its image tower.
        weights_name: of its published weights, ``architecture:tag`` of open_clip, for a method's checkpoint
            that comes without the frozen CLIP; None means that every checkpoint must hold it.
    """

    def __init__(
        self,
        *,
        clip: open_clip.CLIP,
        tokenizer: SimpleTokenizer,
        spec: BackboneSpec,
        weights_name: str | None,
    ) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False).eval()
        self.spec = spec
        self.weights_name = weights_name
        self._text = ClipTextEncoder(clip, tokenizer)
        clip.attn_mask = None  # in no checkpoint, so it would stay on the meta device; the encoder needs none

    def train(self, mode: bool = True) -> "FrozenClip":
        """Keep the CLIP in eval mode: its drop path and its batch statistics are never active."""
        super().train(mode)
        self.clip.eval()
        return self

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "n e"]:
        """Encode prompts into text space, in order, not normalised."""
        return self._text.encode(prompts)

    def text_fingerprint(self) -> str:
        """Digest of the architecture, tokenizer and weights that `encode_text` uses."""
        return self._text.fingerprint()

    def text_logit_scale(self) -> float:
        """The trained factor on cosines, at most 100."""
        return float(self.clip.logit_scale.exp().clamp(max=100.0))

    def load_weights(self, path: Path) -> None:
        """Fill from one of open_clip's files.

        Raises:
            WeightsError: the file is damaged, or of another architecture.
        """
        load_strict(self.clip, clip_state(read_state_dict(path), source=str(path)), source=str(path))

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute pictures in another number format; the text tower stays in float32."""
        self.clip.visual.to(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the image tower."""
        dtype: torch.dtype = next(self.clip.visual.parameters()).dtype
        return dtype
