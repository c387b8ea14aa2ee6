"""Official FC-CLIP checkpoints in, this project's modules filled.

The official files are Detectron2 checkpoints of the whole model, with or without the frozen CLIP inside. The
names differ from ours where ours say more; the tensors are the same, one to one.

Source: official `fcclip/fcclip.py` and the checkpoints of its README.
"""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovseg.errors import ConfigError, VocabularyError, WeightsError
from ovseg.interfaces import Backbone
from ovseg.models.common.clip import clip_state
from ovseg.vocabulary import ClassEntry, Vocabulary
from ovseg.weights.checkpoint import load_strict, read_beside, read_state_dict
from ovseg.weights.fetch import fetch

CLIP = "backbone.clip."
OFFICIAL_CLIP = "backbone.clip_model."
CRITERION = "criterion.empty_weight"
"""A buffer of the training loss, one longer than the classes; in every official file, unused here."""
NOT_IN_OUR_STATE = ("*attn_mask", "pixel_mean", "pixel_std")
"""Buffers that some files carry and that are constants here."""

METADATA = "ovseg"
"""Key beside the weights for what a training of ours says of itself; the official code looks past it."""

_PIXEL = ("mask_generator.pixel_decoder.", "sem_seg_head.pixel_decoder.")
_MASK = ("mask_generator.mask_decoder.", "sem_seg_head.predictor.")
_LAYER = _MASK[0] + r"layers.\d."

RENAMES = (
    (CLIP, OFFICIAL_CLIP),
    (_PIXEL[0] + "level_embed", _PIXEL[1] + "transformer.level_embed"),
    (_PIXEL[0] + r"layers.\d.attention.", _PIXEL[1] + r"transformer.encoder.layers.\d.self_attn."),
    (_PIXEL[0] + r"layers.\d.", _PIXEL[1] + r"transformer.encoder.layers.\d."),
    (_PIXEL[0] + "lateral.conv.", _PIXEL[1] + "adapter_1."),
    (_PIXEL[0] + "lateral.norm.", _PIXEL[1] + "adapter_1.norm."),
    (_PIXEL[0] + "output.conv.", _PIXEL[1] + "layer_1."),
    (_PIXEL[0] + "output.norm.", _PIXEL[1] + "layer_1.norm."),
    _PIXEL,
    (_LAYER + "cross_attention.", _MASK[1] + r"transformer_cross_attention_layers.\d.multihead_attn."),
    (_LAYER + "cross_norm.", _MASK[1] + r"transformer_cross_attention_layers.\d.norm."),
    (_LAYER + "self_attention.", _MASK[1] + r"transformer_self_attention_layers.\d.self_attn."),
    (_LAYER + "self_norm.", _MASK[1] + r"transformer_self_attention_layers.\d.norm."),
    (_LAYER + "ffn_norm.", _MASK[1] + r"transformer_ffn_layers.\d.norm."),
    (_LAYER, _MASK[1] + r"transformer_ffn_layers.\d."),
    (_MASK[0] + "norm.", _MASK[1] + "decoder_norm."),
    ("classifier.in_vocabulary.logit_scale", _MASK[1] + "logit_scale"),
    ("classifier.in_vocabulary.pool_norm.", _MASK[1] + "_mask_pooling_proj.0."),
    ("classifier.in_vocabulary.pool_proj.", _MASK[1] + "_mask_pooling_proj.1."),
    ("classifier.in_vocabulary.class_embed.", _MASK[1] + "class_embed."),
    ("classifier.void_embedding.", "void_embedding."),
    _MASK,
)
r"""(ours, official) prefixes, the first that fits counts; ``\d`` is a layer's number on both sides."""


def official_key(key: str) -> str:
    """The official name of one of our state-dict keys."""
    for ours, official in RENAMES:
        match = re.match(_pattern(ours), key)
        if match:
            return official.replace(r"\d", (*match.groups(), "")[0]) + key[match.end() :]
    return key


def _pattern(prefix: str) -> str:
    return re.escape(prefix).replace(r"\\d", r"(\d+)")


def load_fcclip(method: nn.Module, backbone: Backbone, path: Path) -> str | None:
    """Fill the whole method from an official checkpoint.

    A file without the frozen CLIP is completed from the backbone's published weights.

    Args:
        method: whose state dict has the keys of `RENAMES`' left side.
        backbone: the method's own.
        path: of the checkpoint.

    Returns:
        What the CLIP's weights are called where they came from elsewhere, else None.

    Raises:
        WeightsError: the file or the CLIP's is damaged, of another architecture, or not to be had.
    """
    official = read_state_dict(path)
    our_key = {official_key(key): key for key in method.state_dict()}
    state = {our_key.get(key, key): tensor for key, tensor in official.items()}
    load_strict(
        method, state, source=str(path), may_lack=(CLIP + "*",), ignore=(CRITERION, *NOT_IN_OUR_STATE)
    )
    if any(key.startswith(CLIP) for key in state):
        return None
    if backbone.weights_name is None:
        raise WeightsError(
            f"{path} holds no frozen CLIP (no '{OFFICIAL_CLIP}*'), and the backbone names no published "
            "weights to complete it with. Say model.backbone.pretrained=TAG, or "
            "give a checkpoint that holds the CLIP."
        )
    backbone.load_weights(fetch(backbone.weights_name))
    return backbone.weights_name


def training_state(
    training: nn.Module, backbone: Backbone, *, training_classes: int, with_frozen: bool
) -> dict[str, Tensor]:
    """What `official_state_dict` gives, with or without the frozen CLIP.

    A CLIP that computes in a smaller number format than its weights are published in is saved as published.

    Raises:
        ConfigError: such a CLIP names no published weights.
        WeightsError: they cannot be had.
    """
    state = official_state_dict(training, training_classes=training_classes)
    frozen = {key for key in state if key.startswith(OFFICIAL_CLIP)}
    trained = {key: tensor for key, tensor in state.items() if key not in frozen}
    if not with_frozen:
        return trained
    reduced = [key for key in frozen if state[key].dtype in (torch.float16, torch.bfloat16)]
    if not reduced:
        return state
    if backbone.weights_name is None:
        raise ConfigError(
            f"The frozen CLIP computes in {state[reduced[0]].dtype} and names no published weights, so a "
            "checkpoint with it would hold a CLIP that lost bits. Save checkpoints without the frozen CLIP, "
            "or train with runtime.precision=fp32."
        )
    path = fetch(backbone.weights_name)
    published = clip_state(read_state_dict(path), source=str(path))
    return {**{key: published[key.removeprefix(OFFICIAL_CLIP)] for key in frozen}, **trained}


def training_metadata(vocabulary: Vocabulary) -> dict[str, Any]:
    """Plain values that a checkpoint carries beside its weights, under the key `METADATA`."""
    classes = [{"names": list(entry.names), "is_thing": entry.is_thing} for entry in vocabulary.classes]
    return {
        "version": importlib.metadata.version("ovseg"),
        "training_vocabulary": {"name": vocabulary.name, "classes": classes},
    }


def trained_vocabulary(path: Path) -> Vocabulary | None:
    """The training vocabulary that a checkpoint carries; None for one without, as the official ones are.

    Raises:
        WeightsError: there is something else in its place.
    """
    metadata = read_beside(path, METADATA)
    if metadata is None:
        return None
    try:
        listed = metadata["training_vocabulary"]  # type: ignore[index]
        classes = (
            ClassEntry(names=tuple(entry["names"]), is_thing=entry["is_thing"]) for entry in listed["classes"]
        )
        return Vocabulary(name=listed["name"], classes=tuple(classes))
    except (TypeError, KeyError, VocabularyError) as error:
        raise WeightsError(
            f"{path} has no training vocabulary under '{METADATA}' that can be read ({error!r}). "
            f"Without the key '{METADATA}' the file loads as an official checkpoint, and the classes of "
            "model.training_vocabulary count as seen."
        ) from error


def official_state_dict(method: nn.Module, *, training_classes: int) -> dict[str, Tensor]:
    """The method's state dict under the official names, with the loss's buffer, as officially saved."""
    state = {official_key(key): tensor for key, tensor in method.state_dict().items()}
    weight = torch.ones(training_classes + 1)
    weight[-1] = 0.1
    return {**state, CRITERION: weight}
