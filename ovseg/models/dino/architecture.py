"""timm's vision transformers by architecture, without weights."""

import inspect
import json
from pathlib import Path
from typing import Any

import timm
from timm.layers import Mlp
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import nn

from ovseg.errors import ConfigError
from ovseg.suggest import did_you_mean, listed
from ovseg.weights.shipped import architecture_file

_DINOS = tuple(f"vit_{size}_patch{patch}_224.dino" for size in ("small", "base") for patch in (16, 8))
_EXTRAS = ("ls1", "ls2", "q_norm", "k_norm", "norm", "gate")
"""Parts of timm's blocks that DINO's have not: scales, and norms and gates inside a branch."""


def build_vit(architecture: str) -> VisionTransformer:
    """A plain vision transformer without its weights (random, or none on the ``meta`` device) or head.

    Args:
        architecture: a name of timm or of a JSON file that comes with ovseg (``toyworld_dino``), or the path
            of a JSON file with the keyword arguments of timm's ``VisionTransformer``.

    Raises:
        ConfigError: timm does not know the architecture, it is no plain vision transformer, or its file is
            damaged.
    """
    shipped = architecture_file(architecture)
    if shipped is not None or architecture.endswith(".json"):
        vit = _from_file(shipped or Path(architecture))
    else:
        vit = _from_timm(architecture)
    _check(vit, architecture)
    return vit


def _from_timm(architecture: str) -> nn.Module:
    # Asked first, because timm would look on the network for a name such as "hf-hub:owner/model".
    if not timm.is_model(architecture):
        raise ConfigError(_unknown(architecture))
    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0)
    except RuntimeError as error:  # what timm raises for a tag that it does not know
        raise ConfigError(_unknown(architecture)) from error
    return model


def _unknown(architecture: str) -> str:
    return (
        f"timm has no architecture '{architecture}'.{did_you_mean(architecture, _DINOS)} DINO's are "
        f"{listed(_DINOS)}; a file with an architecture must be called *.json."
    )


def _from_file(path: Path) -> nn.Module:
    if not path.is_file():
        raise ConfigError(f"The architecture file '{path}' does not exist.")
    try:
        arguments = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"The architecture file '{path}' is no JSON: {error}.") from error
    known = inspect.signature(VisionTransformer).parameters
    unknown = [key for key in arguments if key not in known] if isinstance(arguments, dict) else [arguments]
    if unknown:
        raise ConfigError(
            f"The architecture file '{path}' must map keyword arguments of timm's VisionTransformer to "
            f"numbers; it has {listed([str(key) for key in unknown])}. For example: "
            '{"embed_dim": 768, "depth": 12, "num_heads": 12, "patch_size": 16, "img_size": 224}.'
        )
    try:
        made: nn.Module = VisionTransformer(**{**arguments, "num_classes": 0})
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"timm makes no VisionTransformer of '{path}': {error}.") from error
    return made


def _check(vit: nn.Module, architecture: str) -> None:
    """Refuse transformers whose features would be computed wrongly here."""
    if not isinstance(vit, VisionTransformer):
        raise ConfigError(_unsupported(architecture, f"it is a {type(vit).__name__}"))
    patches: Any = vit.patch_embed
    side = patches.patch_size
    one_each = vit.pos_embed is not None and vit.pos_embed.shape[1] == patches.num_patches + 1
    differences = {
        "it has no class token, or others beside it": not vit.has_class_token or vit.num_prefix_tokens != 1,
        "it has no learned position for each token": not one_each,
        "its patches are not square": side[0] != side[1],
        "its patches are more than a convolution": not isinstance(getattr(patches, "proj", None), nn.Conv2d),
        "it has a norm before its blocks": not _is_nothing(patches.norm, vit.norm_pre),
        "it has no last norm": not isinstance(vit.norm, nn.LayerNorm),
        "its blocks are of another kind": not len(vit.blocks) or not all(map(_is_plain, vit.blocks)),
    }
    for reason, is_so in differences.items():
        if is_so:
            raise ConfigError(_unsupported(architecture, reason))


def _is_plain(block: nn.Module) -> bool:
    if type(block) is not Block or type(block.attn) is not Attention or type(block.mlp) is not Mlp:
        return False
    perceptron: Any = block.mlp
    activation = perceptron.act
    exact = isinstance(activation, nn.GELU) and activation.approximate == "none"
    extras = [getattr(part, name, None) for part in (block, block.attn, block.mlp) for name in _EXTRAS]
    return exact and _is_nothing(*extras)


def _is_nothing(*parts: nn.Module | None) -> bool:
    return all(part is None or isinstance(part, nn.Identity) for part in parts)


def _unsupported(architecture: str, reason: str) -> str:
    return (
        f"'{architecture}' is not supported as DINO: {reason}. Supported are plain vision transformers with "
        "a class token and learned positions, such as vit_base_patch16_224.dino."
    )
