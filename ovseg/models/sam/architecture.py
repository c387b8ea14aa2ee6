"""SAM's parts at a published size, or at one from a file, without weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

from ovseg.errors import ConfigError
from ovseg.suggest import did_you_mean, listed
from ovseg.weights.shipped import architecture_file

PATCH = 16
WINDOW = 14
MASK_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class SamSize:
    """What differs between SAMs.

    Attributes:
        embed_dim, depth, num_heads: of the image encoder.
        global_attn: its blocks that attend to the whole picture, the last one among them; the others attend
            within windows.
        prompt_dim: channels of the encoder's output, of prompts and of the mask decoder.
        dec_mlp, dec_heads: of the mask decoder.
        image_size: side of the network input in pixels.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attn: tuple[int, ...]
    prompt_dim: int = 256
    dec_mlp: int = 2048
    dec_heads: int = 8
    image_size: int = 1024


SIZES: Mapping[str, SamSize] = {
    "vit_b": SamSize(embed_dim=768, depth=12, num_heads=12, global_attn=(2, 5, 8, 11)),
    "vit_l": SamSize(embed_dim=1024, depth=24, num_heads=16, global_attn=(5, 11, 17, 23)),
    "vit_h": SamSize(embed_dim=1280, depth=32, num_heads=16, global_attn=(7, 15, 23, 31)),
}
"""The published ones (arXiv 2304.02643, appendix A)."""


def sam_size(architecture: str) -> SamSize:
    """The size that an architecture means.

    Args:
        architecture: a name of `SIZES` or of a JSON file that comes with ovseg (``toyworld_sam``), or the
            path of a JSON file with the attributes of a `SamSize`.

    Raises:
        ConfigError: there is no such size, or its file is damaged or contradicts itself.
    """
    if architecture in SIZES:
        return SIZES[architecture]
    path = architecture_file(architecture) or Path(architecture)
    if path.suffix != ".json":
        raise ConfigError(
            f"There is no SAM architecture '{architecture}'.{did_you_mean(architecture, SIZES)} Write "
            f"{listed(SIZES)}, or the path of a .json file."
        )
    size = _from_file(path)
    _check(size, f"The SAM architecture file '{path}'")
    return size


def build_parts(size: SamSize) -> tuple[ImageEncoderViT, PromptEncoder, MaskDecoder]:
    """The package's modules, with random weights or, on the ``meta`` device, with none."""
    grid = size.image_size // PATCH
    encoder = ImageEncoderViT(
        img_size=size.image_size,
        patch_size=PATCH,
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.num_heads,
        out_chans=size.prompt_dim,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=WINDOW,
        global_attn_indexes=size.global_attn,
    )
    prompts = PromptEncoder(
        embed_dim=size.prompt_dim,
        image_embedding_size=(grid, grid),
        input_image_size=(size.image_size, size.image_size),
        mask_in_chans=MASK_CHANNELS,
    )
    transformer = TwoWayTransformer(
        depth=2, embedding_dim=size.prompt_dim, mlp_dim=size.dec_mlp, num_heads=size.dec_heads
    )
    decoder = MaskDecoder(
        transformer_dim=size.prompt_dim, transformer=transformer, iou_head_hidden_dim=size.prompt_dim
    )
    return encoder, prompts, decoder


def _from_file(path: Path) -> SamSize:
    if not path.is_file():
        raise ConfigError(f"The SAM architecture file '{path}' does not exist.")
    try:
        given: Any = json.loads(path.read_text())
        return SamSize(**{**given, "global_attn": tuple(given["global_attn"])})
    except (ValueError, TypeError, KeyError) as error:
        known = ", ".join(field.name for field in fields(SamSize))
        raise ConfigError(
            f"The SAM architecture file '{path}' cannot be used: {error}. It must be a JSON object with "
            f"some of: {known}."
        ) from error


def _check(size: SamSize, what: str) -> None:
    if size.depth - 1 not in size.global_attn:
        raise ConfigError(
            f"{what}: global_attn={list(size.global_attn)} must hold the last block, {size.depth - 1}."
        )
    if size.embed_dim % size.num_heads or size.prompt_dim % (2 * size.dec_heads) or size.prompt_dim % 8:
        raise ConfigError(
            f"{what}: embed_dim={size.embed_dim} must be a multiple of num_heads={size.num_heads}, and "
            f"prompt_dim={size.prompt_dim} of 8 and of twice dec_heads={size.dec_heads}."
        )
    if size.image_size % PATCH:
        raise ConfigError(f"{what}: image_size={size.image_size} must be a multiple of {PATCH}.")
