"""How well toyworld's SAM answers: mean IoU by kind of prompt, of seen and of unseen classes, and grouping.

The answers come from ovseg's own `Sam` where it gives them (one mask for a coarse prompt), and from the
package's decoder where three masks are asked for; IoUs are at the picture's size.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from corpus import Corpus
from grouping import grouping, patch_segments
from sam_model import SamModel, answers_for, chosen
from sam_prompts import CELL, Prompts, box_of, draw_prompts

from ovseg.data.toyworld.words import UNSEEN_STUFF, UNSEEN_THINGS
from ovseg.models.common.global_attention import attention_weights
from ovseg.models.sam.prompted import Sam
from ovseg.models.trident.correlation import sam_correlation
from ovseg.types import Features, MaskPrompts

SMALLEST = 400
"""Pixels of the smallest segment that is measured."""


@torch.no_grad()
def measure(model: SamModel, corpus: Corpus, count: int, *, thorough: bool = False) -> dict[str, float]:
    """Mean IoUs in percent, over the segments of the first pictures of a corpus.

    Args:
        model: is left as it is.
        corpus: pictures of the network's size.
        count: pictures.
        thorough: also measure how the encoder's last attention groups patches.
    """
    sam = as_sam(model)
    found: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for index in range(count):
        image, ids = np.asarray(corpus.image(index)), np.asarray(corpus.ids(index))
        features = sam.encode(image)
        for key, value in _ious(model, sam, features, ids, corpus, index):
            found[key].append(value)
        if thorough:
            for key, likeness in likenesses(features).items():
                groups[key].append((likeness, patch_segments(ids, _grid(features))))
    values = {key: 100 * float(np.mean(found[key])) for key in sorted(found)}
    for key, pictures in groups.items():
        values[f"auc_{key}"] = grouping(pictures).auc
    return values


def as_sam(model: SamModel) -> Sam:
    """A copy as ovseg has it."""
    parts = copy.deepcopy(model)
    return Sam(
        image_encoder=parts.image_encoder,
        prompt_encoder=parts.prompt_encoder,
        mask_decoder=parts.mask_decoder,
        size=parts.size,
        weights_name=None,
        mask_prompt="batched",
    )


def likenesses(features: Features) -> dict[str, np.ndarray]:
    """What a picture's patches are to each other, (n, n): by attention, by Trident's rule, by embedding."""
    attention = features.last_attention
    assert attention is not None
    everything = slice(None)
    heads = [attention_weights(attention, 0, head)(everything) for head in range(attention.queries.shape[1])]
    unit = F.normalize(features.dense[0].flatten(1), dim=0)
    return {
        "attention": torch.stack(heads).mean(0).cpu().numpy(),
        "correlation": sam_correlation(attention, cos_fac=1.2, refine_neg_cos=True).cpu().numpy(),
        "embedding": (unit.T @ unit).cpu().numpy(),
    }


def central_point(mask: np.ndarray) -> np.ndarray:
    """The pixel of a mask that is farthest from its border, (x, y)."""
    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = divmod(int(distance.argmax()), mask.shape[1])
    return np.array([x, y], np.float32)


def _ious(
    model: SamModel, sam: Sam, features: Features, ids: np.ndarray, corpus: Corpus, index: int
) -> Iterator[tuple[str, float]]:
    """(what, IoU) of each large segment of a picture and each kind of prompt."""
    segments = [s for s in corpus.segments(index) if (ids == s.id).sum() >= SMALLEST]
    truth = np.stack([ids == segment.id for segment in segments])
    small = truth[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
    points = np.stack([central_point(mask) for mask in truth])[:, None]
    labels = np.ones((len(truth), 1), np.float32)
    boxes = np.stack([box_of(mask, 1) for mask in truth])
    for kind, prompts in {
        "point": Prompts("point", small, points=points, labels=labels),
        "box": Prompts("box", small, boxes=boxes),
        "point_box": Prompts("point_box", small, points=points, labels=labels, boxes=boxes),
    }.items():
        logits, quality = model.answer(features.dense, prompts)
        some = answers_for(kind)
        yield from _rows(kind, chosen(logits[:, some], quality[:, some]), truth, segments)
        if kind == "point":
            masks = F.interpolate(logits[:, some], size=ids.shape, mode="bilinear") > 0
            best = _iou(masks.cpu().numpy(), truth[:, None]).max(1)
            yield from (("point_best_of_3", float(value)) for value in best)
    coarse = draw_prompts("coarse", small, small[::-1], np.random.RandomState(index))
    for kind, scale in {"coarse": 10.0, "coarse_faint": 0.005}.items():
        proposals = sam(features, _mask_prompts(coarse, scale, features.dense.device))
        yield from _rows(kind, proposals.logits[0], truth, segments)
        assert proposals.scores is not None
        yield f"{kind}_predicted", float(proposals.scores.mean())
        yield f"{kind}_kept", float((proposals.scores > 0.8).float().mean())


def _rows(kind: str, logits: torch.Tensor, truth: np.ndarray, segments: list) -> Iterator[tuple[str, float]]:
    masks = F.interpolate(logits[None], size=truth.shape[1:], mode="bilinear")[0] > 0
    for segment, value in zip(segments, _iou(masks.cpu().numpy(), truth), strict=True):
        unseen = segment.name in UNSEEN_THINGS or segment.name in UNSEEN_STUFF
        group = f"{'unseen' if unseen else 'seen'}_{'things' if segment.is_thing else 'stuff'}"
        yield f"{kind}_{group}", float(value)
        yield kind, float(value)


def _iou(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Over the last two axes."""
    return (masks & truth).sum((-2, -1)) / (masks | truth).sum((-2, -1))


def _mask_prompts(prompts: Prompts, scale: float, device: torch.device) -> MaskPrompts:
    """As Trident gives them: the map's values times `scale`."""
    assert prompts.points is not None
    assert prompts.boxes is not None
    assert prompts.masks is not None
    masks = prompts.masks / np.maximum(prompts.masks.max((1, 2), keepdims=True), 1e-9) * scale
    points, boxes, scaled = (
        torch.from_numpy(part).to(device) for part in (prompts.points[:, 0], prompts.boxes, masks)
    )
    return MaskPrompts(points=points, boxes=boxes, masks=scaled)


def _grid(features: Features) -> tuple[int, int]:
    height, width = features.dense.shape[-2:]
    return height, width
