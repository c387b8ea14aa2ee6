"""The method of each golden file of Trident, built from the shipped YAML with files of the tiny parts."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

from helpers.tiny_trident import Golden, read_golden
from ovseg.models.trident.method import Trident
from ovseg.run.load import load_method

OFFICIAL_KEYS = {
    "slide_stride": "stride",
    "cos_fac": "cos_fac",
    "refine_neg_cos": "refine_neg_cos",
    "coarse_thresh": "coarse_threshold",
    "sam_refinement": "refine",
    "sam_iou_thresh": "iou_threshold",
    "minimal_area": "minimal_area",
    "prob_thd": "prob_threshold",
    "pamr_steps": "pamr_steps",
}
"""The official constructor's names and ours."""


@cache
def golden_trident(name: str) -> Trident:
    """Through composing, checking, building and loading as users have it; shared, so not to be changed."""
    golden = read_golden(name)
    with tempfile.TemporaryDirectory() as folder:
        method = load_method(
            "trident",
            weights="parts",
            device="cpu",
            text_cache=text_folder().name,
            overrides=[*parts(golden, Path(folder)), *settings(golden)],
        )
    return cast(Trident, method)


@cache
def text_folder() -> tempfile.TemporaryDirectory[str]:
    """Where the cases, whose text towers are one, share what they read."""
    return tempfile.TemporaryDirectory()


def parts(golden: Golden, folder: Path) -> list[str]:
    """Overrides that put the tiny parts in the places of the published ones."""
    files = golden.write(folder)
    sam_json = folder / "sam.json"
    sam_json.write_text(json.dumps(golden.facts["tiny_config"]["sam"]))
    return [
        f"model.backbone.architecture={files['clip_json']}",
        f"model.backbone.pretrained={files['clip']}",
        f"model.backbone.last_block.encoder.architecture={files['dino_json']}",
        f"model.backbone.last_block.encoder.pretrained={files['dino']}",
        f"model.mask_generator.architecture={sam_json}",
        f"model.mask_generator.checkpoint={files['sam']}",
    ]


def settings(golden: Golden) -> list[str]:
    """Overrides that say what the official constructor was given."""
    facts: dict[str, Any] = golden.facts
    given = dict(facts["init_kwargs"])
    assert given.pop("beta") == 1.2  # conf/model/backbone/last_block/proxy.yaml
    long_side, short_side = facts["case"]["scale"]
    halves = given.pop("dataset_type", "") == "CityscapesDataset"
    ours = {OFFICIAL_KEYS[key]: value for key, value in given.items()}
    ours |= {"short_side": short_side, "long_side": long_side, "halves": halves}
    return [f"model.{key}={json.dumps(value)}" for key, value in ours.items()]
