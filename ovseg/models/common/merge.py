"""Scored masks to the three views of a picture: semantic, panoptic, instances.

Source: the inference heads of MaskFormer and Mask2Former as FC-CLIP uses them (official `fcclip/fcclip.py`).
Theirs enlarge all masks to the whole picture and then loop over the queries; here one pass over tiles of the
picture feeds all three views, so that memory does not grow with the picture or the number of classes.

Letters: q masks, k classes, h w the masks' grid, y x the picture, p pixels of a tile.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovseg.models.common.linear import prepared
from ovseg.models.common.resample import AxisMap, Tile, axis_map, chained, resample, tiles
from ovseg.types import NOTHING, Instances, Panoptic, Segment, Task

SemanticResize = Literal["masks", "scores"]

TILE_VALUES = 1 << 20
"""Values (pixels x masks, or pixels x classes) of one tile: a few megabytes, about the cache of a core."""


@dataclass(frozen=True)
class Geometry:
    """Sizes (height, width) in pixels along the way of a picture.

    Attributes:
        network: the padded network input, a multiple of the masks' grid.
        resized: the picture inside it, at the top left.
        picture: the picture itself, and the result.
    """

    network: tuple[int, int]
    resized: tuple[int, int]
    picture: tuple[int, int]


@dataclass(frozen=True)
class MergeRules:
    """Thresholds of the panoptic and the instance view.

    Attributes:
        object_mask_threshold: panoptic: class probability that a mask must exceed.
        overlap_threshold: panoptic: share of its own pixels that a mask must win against the others.
        instances_per_image: (mask, class) pairs of highest probability that become instances.
        things_only: drop instances of stuff classes, after those were counted.
    """

    object_mask_threshold: float = 0.0
    overlap_threshold: float = 0.8
    instances_per_image: int = 100
    things_only: bool = True


@dataclass(frozen=True)
class Views:
    """What was asked for; semantic scores only when they were asked for."""

    semantic: Int[Tensor, "y x"] | None = None
    semantic_scores: Float[Tensor, "k y x"] | None = None
    panoptic: Panoptic | None = None
    instances: Instances | None = None


def merge_masks(
    class_logits: Float[Tensor, "q k_and_void"],
    mask_logits: Float[Tensor, "q h w"],
    is_thing: Bool[Tensor, " k"],
    geometry: Geometry,
    *,
    tasks: Sequence[Task],
    rules: MergeRules,
    semantic_resize: SemanticResize = "masks",
    keep_scores: bool = False,
) -> Views:
    """Make the views of one picture.

    Without any mask, nothing is named.

    Args:
        class_logits: their softmax is the class probability, void last.
        mask_logits: on a grid that covers the whole network input.
        is_thing: per class.
        geometry: of the picture.
        tasks: the views to make.
        rules: thresholds.
        semantic_resize: resize the mask logits to the picture before they become class scores ("masks"), or
            make class scores at the network's size and resize those ("scores"). Both are published protocols;
            they differ by some tenths of mIoU.
        keep_scores: also return the semantic scores, which take k x y x values.
    """
    if not len(mask_logits):
        return _nothing(class_logits[:, :-1], geometry.picture, tasks, keep_scores)
    probabilities = class_logits.softmax(-1)
    grid = mask_logits.permute(1, 2, 0).contiguous()
    maps = _Maps(mask_logits.shape[-2:], geometry, mask_logits.device)
    semantic = panoptic = instances = None
    if "semantic" in tasks:
        semantic = _Semantic(probabilities[:, :-1], geometry.picture, keep_scores)
    if "panoptic" in tasks:
        panoptic = _PanopticVotes(probabilities, geometry.picture, rules)
    if "instance" in tasks:
        instances = _InstanceMasks(probabilities[:, :-1], is_thing, geometry.picture, rules)
    from_masks = [view for view in (semantic, panoptic, instances) if view is not None]
    if semantic is not None and semantic_resize == "scores":
        from_masks.remove(semantic)
        for tile in _tiles(geometry.picture, max(grid.shape[-1], len(is_thing)), shrink=maps.shrink):
            semantic.add(tile, maps.scores(grid, probabilities[:, :-1], tile))
    if from_masks:
        for tile in _tiles(geometry.picture, max(grid.shape[-1], len(is_thing))):
            logits = resample(grid, maps.rows, maps.columns, tile)
            inside = logits.sigmoid()
            for view in from_masks:
                view.take(tile, logits, inside)
    return Views(
        semantic=semantic.labels.cpu() if semantic else None,
        semantic_scores=semantic.scores if semantic else None,
        panoptic=panoptic.result(is_thing) if panoptic else None,
        instances=instances.result() if instances else None,
    )


def _nothing(
    classes: Float[Tensor, "0 k"], size: tuple[int, int], tasks: Sequence[Task], keep_scores: bool
) -> Views:
    semantic = "semantic" in tasks
    return Views(
        semantic=torch.full(size, NOTHING, dtype=torch.int32) if semantic else None,
        semantic_scores=classes.new_zeros(classes.shape[1], *size) if semantic and keep_scores else None,
        panoptic=Panoptic(torch.zeros(size, dtype=torch.int32), ()) if "panoptic" in tasks else None,
        instances=Instances(
            masks=torch.zeros(0, *size, dtype=torch.bool),
            labels=torch.zeros(0, dtype=torch.int64),
            scores=torch.zeros(0),
        )
        if "instance" in tasks
        else None,
    )


def _tiles(size: tuple[int, int], depth: int, *, shrink: float = 1.0) -> list[Tile]:
    """Tiles four times as wide as high whose pixels times `depth` fill the budget.

    `shrink` is input pixels per output pixel.
    """
    pixels = max(256, int(TILE_VALUES / depth / shrink))
    rows = max(8, int((pixels / 4) ** 0.5))
    return list(tiles(*size, rows=rows, columns=max(8, pixels // rows)))


class _Maps:
    """The resizings of one picture: mask grid to picture, mask grid to network, network to picture."""

    def __init__(self, grid: torch.Size, geometry: Geometry, device: torch.device) -> None:
        first = (
            axis_map(grid[0], geometry.network[0], device=device),
            axis_map(grid[1], geometry.network[1], device=device),
        )
        self.rows, self.columns = (
            chained(axis, keep, out)
            for axis, keep, out in zip(first, geometry.resized, geometry.picture, strict=True)
        )
        self._to_network = first
        self._to_picture = [
            axis_map(keep, out, device=device)
            for keep, out in zip(geometry.resized, geometry.picture, strict=True)
        ]
        sizes = zip(geometry.resized, geometry.picture, strict=True)
        self.shrink = math.prod(min(2.0, max(1.0, resized / picture)) for resized, picture in sizes)

    def scores(
        self, grid: Float[Tensor, "h w q"], classes: Float[Tensor, "q k"], tile: Tile
    ) -> Float[Tensor, "y x k"]:
        """Class scores made at the network's size and then resized to a tile of the picture."""
        rows, columns = self._to_picture
        row_places, row_weights = rows.needed(tile.rows.start, tile.rows.stop)
        column_places, column_weights = columns.needed(tile.columns.start, tile.columns.stop)
        network = (self._to_network[0].only(row_places), self._to_network[1].only(column_places))
        places = Tile(slice(0, len(row_places)), slice(0, len(column_places)))
        scores = resample(grid, *network, places).sigmoid() @ classes
        part = Tile(slice(0, row_weights.shape[0]), slice(0, column_weights.shape[0]))
        return resample(scores, AxisMap(row_weights), AxisMap(column_weights), part)


class _Semantic:
    """Per pixel the class of the highest score, the sum of the masks' class probabilities times sigmoids."""

    def __init__(self, classes: Float[Tensor, "q k"], size: tuple[int, int], keep_scores: bool) -> None:
        self._score = prepared(classes.T, None, rows=math.prod(size))
        self.labels = torch.empty(size, dtype=torch.int32, device=classes.device)
        self.scores = classes.new_empty(classes.shape[1], *size) if keep_scores else None

    def take(self, tile: Tile, logits: Float[Tensor, "y x q"], inside: Float[Tensor, "y x q"]) -> None:
        self.add(tile, self._score(inside))

    def add(self, tile: Tile, scores: Float[Tensor, "y x k"]) -> None:
        best = scores.max(-1).indices  # twice as fast as argmax
        self.labels[tile.rows, tile.columns] = best.to(torch.int32)
        if self.scores is not None:
            self.scores[:, tile.rows, tile.columns] = scores.permute(2, 0, 1)


class _PanopticVotes:
    """Masks compete for pixels by class probability times sigmoid; poor winners are dropped afterwards."""

    def __init__(self, classes: Float[Tensor, "q k"], size: tuple[int, int], rules: MergeRules) -> None:
        self._scores, self._labels = classes.max(-1)
        void = classes.shape[-1] - 1
        self._kept = (self._labels != void) & (self._scores > rules.object_mask_threshold)
        self._handicap = torch.where(self._kept, 0.0, -2.0)  # below any product of two probabilities
        self._overlap = rules.overlap_threshold
        self._winner = torch.zeros(size, dtype=torch.int64, device=classes.device)
        self._claimed = torch.zeros(size, dtype=torch.bool, device=classes.device)
        self._own = torch.zeros(len(classes), dtype=torch.float64, device=classes.device)

    def take(self, tile: Tile, logits: Float[Tensor, "y x q"], inside: Float[Tensor, "y x q"]) -> None:
        winner = torch.addcmul(self._handicap, inside, self._scores).max(-1).indices
        self._own += _total((2 * inside).floor_().clamp_max_(1))  # counts inside >= 0.5
        self._winner[tile.rows, tile.columns] = winner
        self._claimed[tile.rows, tile.columns] = inside.gather(-1, winner[..., None])[..., 0] >= 0.5

    def result(self, is_thing: Bool[Tensor, " k"]) -> Panoptic:
        """What the masks that kept enough of their own pixels won; of each class of stuff one segment."""
        count = len(self._kept)
        won = self._winner.flatten().bincount(minlength=count).tolist()
        claimed = self._winner[self._claimed].bincount(minlength=count).tolist()
        own, labels, scores = self._own.tolist(), self._labels.tolist(), self._scores.tolist()
        id_of_mask = torch.zeros(count, dtype=torch.int32)
        segments: list[Segment] = []
        stuff: dict[int, int] = {}  # class -> place of its segment in the list
        for mask in self._kept.nonzero()[:, 0].tolist():
            if 0 in (won[mask], own[mask], claimed[mask]) or won[mask] / own[mask] < self._overlap:
                continue
            label, thing = labels[mask], bool(is_thing[labels[mask]])
            place = stuff.get(label, len(segments)) if not thing else len(segments)
            if place == len(segments):
                segments.append(Segment(place + 1, label, thing, scores[mask], claimed[mask]))
                if not thing:
                    stuff[label] = place
            else:
                old = segments[place]
                score = max(scores[mask], old.score or 0.0)
                segments[place] = Segment(old.id, label, thing, score, old.area + claimed[mask])
            id_of_mask[mask] = place + 1
        ids = id_of_mask[self._winner.cpu()] * self._claimed.cpu()
        return Panoptic(ids=ids, segments=tuple(segments))


class _InstanceMasks:
    """The (mask, class) pairs of highest probability; scores are that times the mean sigmoid in the mask."""

    def __init__(
        self,
        classes: Float[Tensor, "q k"],
        is_thing: Bool[Tensor, " k"],
        size: tuple[int, int],
        rules: MergeRules,
    ) -> None:
        count = min(rules.instances_per_image, classes.numel())
        scores, pairs = classes.flatten().topk(count)
        labels = pairs % classes.shape[1]
        if rules.things_only:
            keep = is_thing[labels]
            scores, pairs, labels = scores[keep], pairs[keep], labels[keep]
        self._scores, self._labels = scores, labels
        self._queries, self._place = (pairs // classes.shape[1]).unique(return_inverse=True)
        self._masks = torch.zeros(len(self._queries), *size, dtype=torch.bool, device=classes.device)
        self._areas = torch.zeros(len(classes), dtype=torch.float64, device=classes.device)
        self._sums = torch.zeros_like(self._areas)

    def take(self, tile: Tile, logits: Float[Tensor, "y x q"], inside: Float[Tensor, "y x q"]) -> None:
        positive = logits.sign().clamp_min_(0)
        self._areas += _total(positive)
        self._sums += _total(positive.mul_(inside))
        self._masks[:, tile.rows, tile.columns] = (logits[..., self._queries] > 0).permute(2, 0, 1)

    def result(self) -> Instances:
        """Best score first, which is 0..1."""
        quality = (self._sums / (self._areas + 1e-6)).float()[self._queries]
        scores = (self._scores * quality[self._place]).cpu()
        order = scores.argsort(descending=True, stable=True)
        masks = self._masks.cpu()[self._place.cpu()[order]]
        return Instances(masks=masks, labels=self._labels.cpu()[order], scores=scores[order])


def _total(values: Float[Tensor, "y x q"]) -> Float[Tensor, " q"]:
    """Sum over the pixels of a tile, as a matrix product: torch's own sum is slow along this axis.

    Exact for zeros and ones, as a tile has fewer than 2^24 pixels.
    """
    return values.new_ones(values.shape[0] * values.shape[1]) @ values.flatten(0, 1)
