"""What toyworld's SAM is asked while it trains: segments of a picture, and prompts that mean them.

All masks are on the mask decoder's grid, a quarter of the network input; points and boxes are in pixels of
the network input. Prompts are the paper's (arXiv 2304.02643, appendix A: a point of the mask, its box with
noise, later a point where the answer was wrong together with that answer) and those of a method that knows
the picture coarsely, as Trident does (arXiv 2411.09219, section 3.4): a faint, blobby map, the box of its
region and the region's likeliest point.

Letters: n prompts of one picture, k points of a prompt, m side of masks.
"""

from dataclasses import dataclass

import cv2
import numpy as np

CELL = 4
"""Pixels of the network input per position of a mask."""

SMALLEST = 24
"""Positions of the smallest segment that is asked for."""

LEAST_PROBABILITY = 0.2
"""Probabilities up to here are 0 in coarse maps, as Trident has them."""

KINDS = ("point", "box", "point_box", "coarse")
"""What a picture's prompts are made of."""


@dataclass(frozen=True)
class Prompts:
    """Prompts of one kind, and the masks that they mean.

    Attributes:
        kind: of `KINDS`.
        truth: bool (n, m, m).
        points: float32 (n, k, 2), x and y; None for none.
        labels: float32 (n, k), 1 where a point is inside and 0 where it is outside.
        boxes: float32 (n, 4), x and y of the first and last pixel; None for none.
        masks: float32 (n, m, m), logits; None for none.
    """

    kind: str
    truth: np.ndarray
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    boxes: np.ndarray | None = None
    masks: np.ndarray | None = None


def draw_prompts(kind: str, truth: np.ndarray, others: np.ndarray, random: np.random.RandomState) -> Prompts:
    """Prompts for the masks `truth`; `others` (n, m, m) are wrong masks that coarse maps may hold as well."""
    if kind == "coarse":
        return _coarse_prompts(truth, others, random)
    points = np.stack([random_point(mask, random) for mask in truth])[:, None] if "point" in kind else None
    return Prompts(
        kind=kind,
        truth=truth,
        points=points,
        labels=None if points is None else np.ones(points.shape[:2], np.float32),
        boxes=np.stack([noisy_box(mask, random) for mask in truth]) if "box" in kind else None,
    )


def draw_targets(
    ids: np.ndarray, things: frozenset[int], count: int, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Masks to ask for, (count, m, m), and for each another segment's.

    A thing is one mask, also in parts; of stuff it is the connected part around a random position.

    Args:
        ids: segment of each position of the masks' grid.
        things: ids of things.
        count: masks; a segment may come twice.
        random: decides.
    """
    found, areas = np.unique(ids, return_counts=True)
    large = found[areas >= SMALLEST]
    large = large if len(large) else found
    chosen = random.permutation(np.resize(random.permutation(large), count))
    truth = np.stack([ids == key if key in things else _part(ids == key, random) for key in chosen])
    return truth, np.stack([ids == key for key in random.choice(found, count)])


def random_point(mask: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """A pixel of a mask that has any: (x, y) in the network input."""
    places = np.flatnonzero(mask)
    y, x = divmod(int(places[random.randint(len(places))]), mask.shape[1])
    return (CELL * np.array([x, y]) + random.randint(0, CELL, 2)).astype(np.float32)


def box_of(mask: np.ndarray, cell: int = CELL) -> np.ndarray:
    """The first and last pixel of a mask that has any: (x, y, x, y), with `cell` pixels per position."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * cell
    return (corners - [0, 0, 1, 1]).astype(np.float32)


def noisy_box(mask: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """A mask's box, each edge off by a tenth of the box's side (standard deviation), 20 pixels at most."""
    box = box_of(mask)
    sides = np.tile(box[2:] - box[:2], 2)
    noise = np.clip(random.randn(4) * 0.1 * sides, -20, 20)
    return np.clip(box + noise, 0, CELL * mask.shape[1] - 1).astype(np.float32)


def correction(
    answer: np.ndarray, truth: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """A point for each mask where the answer was wrong, (n, 1, 2), and its label, (n, 1).

    Where an answer is right everywhere, a point of the mask.
    """
    points, labels = [], []
    for said, true in zip(answer, truth, strict=True):
        wrong = said != true
        point = random_point(wrong if wrong.any() else true, random)
        x, y = (point // CELL).astype(int)
        points.append(point)
        labels.append(float(true[y, x]))
    return np.stack(points)[:, None], np.array(labels, np.float32)[:, None]


def coarse_map(truth: np.ndarray, other: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """A mask as a method without fine features sees it: blobs with noise, float32 (m, m) in 0..1."""
    side = truth.shape[0]
    cell = int(random.choice([4, 6, 8]))
    mixed = truth.astype(np.float32)
    if random.rand() < 0.3:
        mixed = np.maximum(mixed, other * random.rand())
    small = cv2.resize(mixed, (side // cell, side // cell), interpolation=cv2.INTER_AREA)
    small = small * random.uniform(0.6, 1.0) + random.uniform(0, 0.2) * random.randn(*small.shape)
    small = np.where(random.rand(*small.shape) < 0.05, random.rand(), small).astype(np.float32)
    return np.clip(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), 0, 1)


def coarse_region(likely: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The connected region of a coarse map that most of the mask is in; the mask itself if there is none."""
    _, numbers = cv2.connectedComponents((likely > 0.5).astype(np.uint8), connectivity=8)
    shares = np.bincount(numbers[truth], minlength=2)
    shares[0] = 0
    return numbers == shares.argmax() if shares.any() else truth


def _coarse_prompts(truth: np.ndarray, others: np.ndarray, random: np.random.RandomState) -> Prompts:
    points, boxes, masks = [], [], []
    for mask, other in zip(truth, others, strict=True):
        likely = coarse_map(mask, other, random)
        region = coarse_region(likely, mask)
        place = np.where(region, likely, -1).argmax()
        points.append(CELL * np.array([place % mask.shape[1], place // mask.shape[1]]) + CELL / 2)
        boxes.append(box_of(region))
        scale = 10 ** random.uniform(-2.3, 1.3)
        masks.append(np.where(likely > LEAST_PROBABILITY, likely * scale, 0))
    return Prompts(
        kind="coarse",
        truth=truth,
        points=np.stack(points)[:, None].astype(np.float32),
        labels=np.ones((len(truth), 1), np.float32),
        boxes=np.stack(boxes),
        masks=np.stack(masks).astype(np.float32),
    )


def _part(mask: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """The connected part of a mask around a random position of it."""
    _, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    places = np.flatnonzero(mask)
    return numbers == numbers.flat[places[random.randint(len(places))]]
