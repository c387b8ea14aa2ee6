"""Files in the place of toyworld's weights: untrained, in the layouts and at the sizes of the real ones."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from ovseg.build import build_component
from ovseg.config import compose_model
from ovseg.models.common.text_cache import TextCache
from ovseg.models.fcclip.weights import OFFICIAL_CLIP, official_state_dict
from ovseg.vocabulary import load_vocabulary
from ovseg.weights.zoo import ZOO


def put_toyworld_weights(folder: Path, monkeypatch) -> None:
    """Write them and let the zoo find them there for the length of a test."""
    torch.manual_seed(0)
    fcclip, trident = _built("fcclip_toyworld"), _built("trident_toyworld")
    classes = len(load_vocabulary("toyworld_seen"))
    whole = official_state_dict(fcclip, training_classes=classes)
    parts = {
        "fcclip": {key: value for key, value in whole.items() if not key.startswith(OFFICIAL_CLIP)},
        "clip_convnext": fcclip.backbone.clip.state_dict(),
        "clip_vit": trident.backbone.clip.state_dict(),
        "dino": trident.backbone.last_block.encoder.vit.state_dict(),
        "sam": trident.mask_generator.state_dict(),
    }
    for name, state in parts.items():
        path = folder / f"toyworld_{name}.safetensors"
        save_file({key: value.half().contiguous().clone() for key, value in state.items()}, path)
        monkeypatch.setitem(ZOO, path.stem, replace(ZOO[path.stem], shipped=path))


def _built(model: str):
    node = {key: value for key, value in compose_model(model).items() if key != "weights"}
    return build_component("methods", node, [TextCache(None)], path="model")
