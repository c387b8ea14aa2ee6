"""A backbone whose text space is RGB: a cell of a picture is its mean colour, a text the colour it names."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import ImageColor
from torch import Tensor

from ovseg.errors import ConfigError, VocabularyError
from ovseg.types import BackboneSpec, Features


class MeanColour:
    """Mean colours of square cells.

    Args:
        cell: side of a cell in pixels.

    Raises:
        ConfigError: `cell` is below 1.
    """

    weights_name = None

    def __init__(self, *, cell: int = 4) -> None:
        if cell < 1:
            raise ConfigError(f"mean_colour: cell={cell} must be at least 1.")
        grey = (127.5, 127.5, 127.5)
        self.spec = BackboneSpec(
            channels={cell: 3}, dense_channels=3, embed_dim=3, pixel_mean=grey, pixel_std=grey
        )
        self.cell = cell

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        """Means over cells; incomplete ones at the right and bottom count as far as they go."""
        means = F.avg_pool2d(images, self.cell, ceil_mode=True, count_include_pad=False)
        return Features({self.cell: means}, means, (images.shape[-2], images.shape[-1]))

    def project(self, vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Colours are in text space already."""
        return vectors

    def pool(self, features: Features, masks: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q 3"]:
        """Mean colour inside each mask."""
        inside = (masks > 0).to(features.dense)
        total = torch.einsum("bqhw,bchw->bqc", inside, features.dense)
        return total / inside.sum((-2, -1)).clamp(min=1)[..., None]

    def text_logit_scale(self) -> float:
        """Nothing was trained."""
        return 1.0

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "n 3"]:
        """The colour that the last colour word of each prompt names, normalised like pictures.

        Raises:
            VocabularyError: a prompt names no colour.
        """
        mean, scale = torch.tensor(self.spec.pixel_mean), torch.tensor(self.spec.pixel_std)
        return (torch.tensor([_colour(prompt) for prompt in prompts]) - mean) / scale

    def text_fingerprint(self) -> str:
        """The words are Pillow's and do not change."""
        return "ovseg-colours-1"

    def load_weights(self, path: Path) -> None:
        """There are none."""

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Means are cheap in any format; float32 is kept."""


def _colour(prompt: str) -> tuple[float, float, float]:
    for word in reversed(prompt.replace(".", " ").split()):
        if word.lower() in ImageColor.colormap:
            red, green, blue = ImageColor.getrgb(word)[:3]
            return float(red), float(green), float(blue)
    raise VocabularyError(
        f"'{prompt}' names no colour. Known: {', '.join(sorted(ImageColor.colormap)[:5])}, ..."
    )
