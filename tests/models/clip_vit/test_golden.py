"""CLIP, DINO and what is between them against the official Trident, stage by stage, on all golden cases."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_trident import CASES, Golden, read_golden
from torch import Tensor

from ovseg.build import build_component
from ovseg.models.clip_vit.backbone import ClipViT
from ovseg.models.clip_vit.proxy import affinity, renormalise
from ovseg.models.clip_vit.tower import tokens_before_last_block
from ovseg.models.common.linear import linear_backend
from ovseg.models.common.positions import resize_positions
from ovseg.models.common.text import TextCache, embed_vocabulary
from ovseg.models.common.vit import layer_norm

EXACT = 5e-5
"""Largest difference of a stage; its mean must be below a fiftieth of that."""

ROWS = 20
"""Of the first window's affinity the files have every 20th row."""


@cache
def backbone_of(patch: int) -> ClipViT:
    """Built from a node, filled by the ordinary loaders; the five cases of patch 16 share their weights."""
    golden = read_golden("patch14" if patch == 14 else "a")
    with tempfile.TemporaryDirectory() as folder:
        paths = golden.write(Path(folder))
        node = {
            "name": "clip_vit",
            "architecture": str(paths["clip_json"]),
            "pretrained": str(paths["clip"]),
            "last_block": {
                "name": "proxy",
                "encoder": {
                    "name": "dino",
                    "architecture": str(paths["dino_json"]),
                    "pretrained": str(paths["dino"]),
                },
            },
        }
        with torch.device("meta"):
            backbone = build_component("backbones", node)
        for part in (backbone, backbone.last_block.encoder):
            part.load_weights(Path(part.weights_name))
    return backbone


@pytest.fixture(params=[case for case in CASES if case != "voc_pamr"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return read_golden(request.param)


@pytest.fixture(params=["plain", "onednn"])
def backend(request: pytest.FixtureRequest) -> Any:
    with linear_backend(request.param):
        yield request.param


@cache
def dino_features(case: str) -> Tensor:
    golden = read_golden(case)
    encoder = backbone_of(golden.patch).last_block.encoder
    return encoder(renormalise(golden.windows, encoder.spec)).dense


def assert_equal(golden: Golden, key: str, value: Tensor) -> None:
    differences = golden.differences(key, value)
    assert differences.max() < EXACT
    assert differences.mean() < EXACT / 50


def test_the_weights_of_patch_16_are_shared() -> None:
    first, *others = (read_golden(case).facts for case in CASES if case != "patch14")
    for facts in others:
        assert (facts["tiny_config"], facts["gains"]) == (first["tiny_config"], first["gains"])


def test_the_case_with_pamr_begins_as_the_one_without() -> None:
    """So it needs no run of its own here."""
    voc, pamr = read_golden("voc"), read_golden("voc_pamr")
    for key in ("resized_rgb_u8", "query_features", "vfm_feats", "clip_last_ln1_x", "window_feats_LBD"):
        assert np.array_equal(voc.arrays[key], pamr.arrays[key])


def test_windows(golden: Golden) -> None:
    """What the other tests stand on: the picture is drawn, normalised, fitted and cut as it was there."""
    assert golden.difference("processed_strided", golden.processed[..., ::8, ::8]) < 1e-5
    assert golden.difference("window0_strided", golden.windows[0, :, ::8, ::8]) < 1e-5


def test_positions(golden: Golden) -> None:
    backbone = backbone_of(golden.patch)
    tower, vit = backbone.clip.visual, backbone.last_block.encoder.vit
    side = 336 // golden.patch
    clip = resize_positions(tower.positional_embedding, tower.grid_size, (side, side))
    dino = resize_positions(vit.pos_embed[0], vit.patch_embed.grid_size, (21, 21))
    assert golden.difference("clip_pos", clip[None]) < 1e-6
    assert golden.difference("dino_pos", dino[None]) < 1e-6


def test_text(golden: Golden) -> None:
    text = embed_vocabulary(backbone_of(golden.patch), golden.vocabulary, templates=(), cache=TextCache(None))
    assert golden.difference("query_features", text.rows) < 1e-6
    assert text.class_of_row.tolist() == golden.arrays["query_idx"].tolist()


def test_dino(golden: Golden, backend: str) -> None:
    encoder = backbone_of(golden.patch).last_block.encoder
    assert_equal(golden, "vfm_feats", encoder(renormalise(golden.windows, encoder.spec)).dense)


def test_clip_before_its_last_block(golden: Golden, backend: str) -> None:
    tower, side = backbone_of(golden.patch).clip.visual, 336 // golden.patch
    tokens = tokens_before_last_block(tower, golden.windows, (side, side))
    normed = layer_norm(tower.transformer.resblocks[-1].ln_1, tokens[:, 1:])
    assert_equal(golden, "clip_last_ln1_x", normed.transpose(0, 1))


def test_affinity(golden: Golden) -> None:
    likeness = affinity(dino_features(golden.name))
    scores = backbone_of(golden.patch).last_block.scores(likeness)
    weights = scores.softmax(-1)
    assert np.abs(float(likeness.mean()) - golden.arrays["affinity_mean"]) < 1e-6
    kept = scores.clamp(min=-1e9)  # as the file has what is cut off
    assert golden.difference("affinity_w0_rows", kept[0, ::ROWS]) < EXACT
    assert golden.difference("affinity_attn_w0_rows", weights[0, ::ROWS]) < EXACT
    assert golden.difference("affinity_keep", (weights > 0).float().mean((1, 2))) < 1e-5


def test_last_block(golden: Golden, backend: str) -> None:
    """One likeness that crosses the bound moves single tokens, so the largest difference may be 2e-2."""
    dense = backbone_of(golden.patch)(golden.windows).dense
    differences = golden.differences("window_feats_LBD", dense.flatten(2).permute(2, 0, 1))
    assert differences.max() < 2e-2
    assert differences.mean() < 1e-6
    assert np.quantile(differences, 0.999) < EXACT
