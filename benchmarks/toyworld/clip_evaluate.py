"""How well a small CLIP names regions of scenes that it has not seen, given their exact masks.

ConvNeXt: masks are pooled as FC-CLIP pools them. ViT: windows of 224 pixels of the value path, the mean of a
mask's pixels. Chance is one in the number of classes, about 0.017.
"""

from collections import defaultdict
from copy import deepcopy

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from corpus import Corpus
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from ovseg.data.toyworld.words import SEEN_THINGS, UNSEEN_STUFF, UNSEEN_THINGS, thing, toyworld_vocabulary
from ovseg.models.clip_vit.backbone import ClipViT
from ovseg.models.clip_vit.last_blocks import ValuePath
from ovseg.models.common.frozen_clip import FrozenClip
from ovseg.models.common.text import TextCache, embed_vocabulary
from ovseg.models.fcclip.backbone import CLIP_MEAN, CLIP_STD, ClipConvNext
from ovseg.models.fcclip.mask_pooled import masks_on_grid
from ovseg.types import BackboneSpec
from ovseg.vocabulary.builtin import load_templates

WINDOW, STEP = 224, 160


@torch.no_grad()
def evaluate(clip: open_clip.CLIP, tokenizer: SimpleTokenizer, corpus: Corpus) -> dict[str, float]:
    """Shares of the corpus's segments that get their own name among all of the vocabulary's.

    Returns:
        ``seen``, ``unseen`` (things), ``stuff``, ``new_stuff``; of all things ``colour``, ``pattern`` and
        ``kind`` alone.
    """
    backbone = _backbone(clip, tokenizer)
    vocabulary = toyworld_vocabulary()
    text = embed_vocabulary(backbone, vocabulary, templates=load_templates("vild"), cache=TextCache(None))
    names = [entry.names[0] for entry in vocabulary.classes]
    device = next(clip.parameters()).device
    right = defaultdict(list)
    for index in range(len(corpus)):
        segments = corpus.segments(index)
        ids = torch.from_numpy(np.array(corpus.ids(index))).to(device)
        masks = ids[None] == torch.tensor([segment.id for segment in segments], device=device)[:, None, None]
        vectors = F.normalize(_regions(backbone, _normalised(corpus.image(index)).to(device), masks), dim=-1)
        likeness = vectors @ text.rows.to(device).T
        best = text.class_of_row[likeness.argmax(-1).cpu()]
        for segment, number in zip(segments, best.tolist(), strict=True):
            _note(right, segment.name, names[number])
    return {key: float(np.mean(values)) for key, values in right.items()}


def _note(right: dict[str, list[bool]], name: str, said: str) -> None:
    if name not in (*SEEN_THINGS, *UNSEEN_THINGS):
        right["new_stuff" if name in UNSEEN_STUFF else "stuff"].append(said == name)
        return
    right["seen" if name in SEEN_THINGS else "unseen"].append(said == name)
    true, told = thing(name), thing(said) if said in (*SEEN_THINGS, *UNSEEN_THINGS) else None
    for part in ("colour", "pattern", "kind"):
        right[part].append(told is not None and getattr(told, part) == getattr(true, part))


def _backbone(clip: open_clip.CLIP, tokenizer: SimpleTokenizer) -> FrozenClip:
    spec = BackboneSpec(
        channels={}, dense_channels=1, embed_dim=clip.text_projection.shape[1],
        pixel_mean=CLIP_MEAN, pixel_std=CLIP_STD,
    )  # fmt: skip
    parts = {"clip": deepcopy(clip), "tokenizer": tokenizer, "spec": spec, "weights_name": None}
    if hasattr(clip.visual, "trunk"):
        return ClipConvNext(**parts)
    return ClipViT(**parts, last_block=ValuePath(residual=False, feed_forward=False))


def _normalised(image: np.ndarray) -> Tensor:
    pixels = (np.asarray(image, np.float32) - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _regions(backbone: FrozenClip, picture: Tensor, masks: Tensor) -> Tensor:
    if isinstance(backbone, ClipConvNext):
        features = backbone(picture)
        grid = (features.dense.shape[-2], features.dense.shape[-1])
        return backbone.pool(features, masks_on_grid(masks[None].float() - 0.5, grid))[0]
    size = picture.shape[-1]
    starts = range(0, size - WINDOW + 1, STEP)
    total: Tensor | float = 0.0
    for y in starts:
        for x in starts:
            dense = backbone(picture[..., y : y + WINDOW, x : x + WINDOW]).dense
            vectors = F.normalize(backbone.project(dense.permute(0, 2, 3, 1)), dim=-1).permute(0, 3, 1, 2)
            pixels = F.interpolate(vectors, size=(WINDOW, WINDOW), mode="bilinear")
            total = total + F.pad(pixels, (x, size - x - WINDOW, y, size - y - WINDOW))
    inside = masks.flatten(1).float()
    return inside @ total[0].flatten(1).T
