"""The small models of the golden files as YAML, so that verbs can be run on them as on the shipped ones."""

import json
from pathlib import Path

import yaml

from helpers.tiny_fcclip import read_golden
from helpers.tiny_models import shipped_model
from helpers.tiny_trident import read_golden as read_trident


def write_tiny_fcclip(folder: Path) -> Path:
    """``model/tiny_fcclip.yaml`` in a folder of config, with its weights beside it; gives the folder."""
    golden, node = read_golden("tiny"), shipped_model("fcclip")
    model = _made(folder / "model")
    architecture = folder / "tiny_clip.json"
    architecture.write_text(json.dumps(golden.facts["clip_config"]))
    mask_generator = {
        "hidden_dim": 64,
        "queries": 20,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "decoder_ffn": 128,
    }
    tiny = {
        **node,
        "weights": str(golden.checkpoint(folder)),
        "short_side": 128,
        "long_side": 224,
        "backbone": {**node["backbone"], "architecture": str(architecture), "pretrained": None},
        "mask_generator": {**node["mask_generator"], **mask_generator},
        "classifier": {
            **node["classifier"],
            "dim": 64,
            "ensemble_on_valid_mask": golden.facts["config2"]["ENSEMBLE_ON_VALID_MASK"],
        },
    }
    (model / "tiny_fcclip.yaml").write_text(yaml.safe_dump(tiny, sort_keys=False))
    return folder


def write_tiny_trident(folder: Path) -> Path:
    """``model/tiny_trident.yaml`` in a folder of config, with the weights of its parts; gives the folder."""
    golden, node = read_trident("a"), shipped_model("trident")
    model = _made(folder / "model")
    paths = golden.write(folder)
    sam = folder / "tiny_sam.json"
    sam.write_text(json.dumps(golden.facts["tiny_config"]["sam"]))
    backbone = node["backbone"]
    encoder = {
        **backbone["last_block"]["encoder"],
        "architecture": str(paths["dino_json"]),
        "pretrained": str(paths["dino"]),
    }
    tiny = {
        **node,
        "short_side": 336,
        "backbone": {
            **backbone,
            "architecture": str(paths["clip_json"]),
            "pretrained": str(paths["clip"]),
            "last_block": {**backbone["last_block"], "encoder": encoder},
        },
        "mask_generator": {
            **node["mask_generator"],
            "architecture": str(sam),
            "checkpoint": str(paths["sam"]),
        },
    }
    (model / "tiny_trident.yaml").write_text(yaml.safe_dump(tiny, sort_keys=False))
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
