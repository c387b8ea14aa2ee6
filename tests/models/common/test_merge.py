"""Views of a picture against a plain re-implementation: whole pictures, loops over the queries, float64."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from helpers.memory import peak_bytes
from torch import Tensor

from ovseg.models.common import merge
from ovseg.models.common.merge import Geometry, MergeRules, Views, merge_masks
from ovseg.types import NOTHING, TASKS

GEOMETRIES = {
    "enlarged": Geometry(network=(64, 96), resized=(50, 90), picture=(75, 135)),
    "reduced": Geometry(network=(64, 96), resized=(61, 83), picture=(23, 31)),
    "unchanged": Geometry(network=(64, 64), resized=(64, 64), picture=(64, 64)),
    "long": Geometry(network=(32, 320), resized=(8, 300), picture=(3, 113)),
    "stretched": Geometry(network=(32, 64), resized=(17, 64), picture=(71, 37)),
    "one pixel": Geometry(network=(32, 32), resized=(5, 3), picture=(1, 1)),
}


@dataclass(frozen=True)
class Case:
    class_logits: Tensor
    mask_logits: Tensor
    is_thing: Tensor
    geometry: Geometry

    def views(self, rules: MergeRules | None = None, tasks=TASKS, **options) -> Views:
        return merge_masks(
            self.class_logits,
            self.mask_logits,
            self.is_thing,
            self.geometry,
            tasks=tasks,
            rules=rules or MergeRules(),
            **options,
        )

    def resized_masks(self) -> Tensor:
        """(q, y, x): enlarged to the network's input, cropped, resized to the picture."""
        height, width = self.geometry.resized
        masks = resize(self.mask_logits.double(), self.geometry.network)[:, :height, :width]
        return resize(masks, self.geometry.picture)

    def probabilities(self) -> Tensor:
        return self.class_logits.double().softmax(-1)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def case(name: str, queries: int = 9, classes: int = 5, seed: int = 0, spread: float = 3.0) -> Case:
    """Smooth random masks, of which some are large and few are empty."""
    generator = torch.Generator().manual_seed(seed)
    geometry = GEOMETRIES[name]
    grid = (geometry.network[0] // 4, geometry.network[1] // 4)
    coarse = torch.randn(1, queries, 4, 4, generator=generator) * spread
    masks = F.interpolate(coarse, size=grid, mode="bicubic")[0]
    class_logits = torch.randn(queries, classes + 1, generator=generator) * 2
    return Case(class_logits, masks, torch.arange(classes) % 2 == 0, geometry)


def naive_semantic(made: Case, semantic_resize: str) -> Tensor:
    """(k, y, x) scores."""
    height, width = made.geometry.resized
    masks = made.resized_masks()
    if semantic_resize == "scores":
        masks = resize(made.mask_logits.double(), made.geometry.network)
    scores = sum(
        row[:-1, None, None] * mask.sigmoid() for row, mask in zip(made.probabilities(), masks, strict=True)
    )
    if semantic_resize == "scores":
        scores = resize(scores[:, :height, :width], made.geometry.picture)
    return scores


def naive_panoptic(made: Case, rules: MergeRules) -> tuple[Tensor, list[tuple[int, bool, float]]]:
    """Ids and (label, is thing, best score) per segment, query by query."""
    scores, labels = made.probabilities().max(-1)
    void = made.class_logits.shape[-1] - 1
    kept = [q for q in range(len(labels)) if labels[q] != void and scores[q] > rules.object_mask_threshold]
    ids = torch.zeros(made.geometry.picture, dtype=torch.int32)
    segments: list[tuple[int, bool, float]] = []
    if not kept:
        return ids, segments
    inside = {q: mask.sigmoid() for q, mask in enumerate(made.resized_masks())}
    winner = torch.stack([scores[q] * inside[q] for q in kept]).argmax(0)
    id_of_stuff: dict[int, int] = {}
    for place, q in enumerate(kept):
        label, thing = int(labels[q]), bool(made.is_thing[labels[q]])
        won, own = winner == place, inside[q] >= 0.5
        segment = won & own
        if 0 in (int(won.sum()), int(own.sum()), int(segment.sum())):
            continue
        if won.sum() / own.sum() < rules.overlap_threshold:
            continue
        if not thing and label in id_of_stuff:
            known = id_of_stuff[label]
            ids[segment] = known
            segments[known - 1] = (label, thing, max(float(scores[q]), segments[known - 1][2]))
            continue
        segments.append((label, thing, float(scores[q])))
        ids[segment] = len(segments)
        if not thing:
            id_of_stuff[label] = len(segments)
    return ids, segments


def naive_instances(made: Case, rules: MergeRules) -> list[tuple[float, int, Tensor]]:
    """(score, label, mask), best first."""
    masks = made.resized_masks()
    probabilities = made.probabilities()[:, :-1]
    pairs = [
        (float(probabilities[q, k]), q, k)
        for q in range(probabilities.shape[0])
        for k in range(probabilities.shape[1])
    ]
    pairs.sort(key=lambda pair: -pair[0])
    found = []
    for score, q, label in pairs[: rules.instances_per_image]:
        if rules.things_only and not made.is_thing[label]:
            continue
        mask = masks[q] > 0
        quality = float((masks[q].sigmoid() * mask).sum() / (mask.sum() + 1e-6))
        found.append((score * quality, label, mask))
    return sorted(found, key=lambda instance: -instance[0])


def assert_panoptic_is(views: Views, made: Case, rules: MergeRules) -> None:
    assert views.panoptic is not None
    ids, segments = naive_panoptic(made, rules)
    assert (views.panoptic.ids != ids).double().mean() <= 1e-3
    assert [s.id for s in views.panoptic.segments] == list(range(1, len(segments) + 1))
    assert [(s.label, s.is_thing) for s in views.panoptic.segments] == [s[:2] for s in segments]
    assert [s.score for s in views.panoptic.segments] == pytest.approx([s[2] for s in segments], abs=1e-5)
    areas = [int((views.panoptic.ids == s.id).sum()) for s in views.panoptic.segments]
    assert [s.area for s in views.panoptic.segments] == areas


def assert_instances_are(views: Views, made: Case, rules: MergeRules) -> None:
    assert views.instances is not None
    expected = naive_instances(made, rules)
    assert views.instances.scores.tolist() == pytest.approx([score for score, _, _ in expected], abs=1e-5)
    assert views.instances.labels.tolist() == [label for _, label, _ in expected]
    assert views.instances.masks.shape == (len(expected), *made.geometry.picture)
    for mask, (_, _, expected_mask) in zip(views.instances.masks, expected, strict=True):
        assert (mask != expected_mask).double().mean() <= 1e-3


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("semantic_resize", ["masks", "scores"])
def test_semantic(geometry: str, semantic_resize: str) -> None:
    made = case(geometry)
    views = made.views(tasks=("semantic",), semantic_resize=semantic_resize, keep_scores=True)
    expected = naive_semantic(made, semantic_resize)
    assert views.semantic_scores is not None
    assert views.semantic is not None
    assert torch.allclose(views.semantic_scores.double(), expected, atol=1e-5)
    assert torch.equal(views.semantic, views.semantic_scores.argmax(0).int())
    assert (views.semantic != expected.argmax(0)).double().mean() <= 1e-3


def test_the_two_orders_of_resizing_differ() -> None:
    made = case("reduced")
    one, other = (naive_semantic(made, order) for order in ("masks", "scores"))
    assert (one - other).abs().max() > 1e-3


def test_semantic_scores_are_only_kept_when_asked_for() -> None:
    assert case("reduced").views().semantic_scores is None


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "rules",
    [MergeRules(), MergeRules(overlap_threshold=0.0), MergeRules(0.5, 0.4), MergeRules(0.3, 1.0)],
    ids=["default", "no overlap", "both", "whole"],
)
def test_panoptic(geometry: str, seed: int, rules: MergeRules) -> None:
    made = case(geometry, queries=12, seed=seed)
    assert_panoptic_is(made.views(rules, tasks=("panoptic",)), made, rules)


def test_the_panoptic_cases_cover_what_they_should() -> None:
    """Stuff that is merged, and masks that each of the two thresholds drops."""
    made = case("enlarged", queries=12)
    _, free = naive_panoptic(made, MergeRules(overlap_threshold=0.0))
    _, default = naive_panoptic(made, MergeRules())
    _, strict = naive_panoptic(made, MergeRules(0.5, 0.0))
    labels = made.class_logits.argmax(-1)
    stuff = [int(label) for label in labels if label < 5 and not made.is_thing[label]]
    assert len(stuff) > len(set(stuff))
    assert len(default) < len(free)
    assert len(strict) < len(free)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("things_only", [True, False])
@pytest.mark.parametrize("count", [100, 7])
def test_instances(geometry: str, things_only: bool, count: int) -> None:
    """With 9 x 5 pairs, 100 take all, 7 the best; stuff is dropped after the counting."""
    made = case(geometry, seed=3)
    rules = MergeRules(instances_per_image=count, things_only=things_only)
    assert_instances_are(made.views(rules, tasks=("instance",)), made, rules)


def test_stuff_uses_up_the_count() -> None:
    made = case("unchanged", seed=3)
    with_stuff, without = (
        made.views(MergeRules(instances_per_image=7, things_only=only), tasks=("instance",)).instances
        for only in (False, True)
    )
    assert with_stuff is not None
    assert without is not None
    assert len(with_stuff.scores) == 7
    assert 0 < len(without.scores) < 7


@pytest.mark.parametrize(("queries", "classes"), [(1, 5), (9, 1), (1, 1)])
def test_one_class_or_one_query(queries: int, classes: int) -> None:
    made = case("stretched", queries, classes, seed=1)
    views = made.views(keep_scores=True)
    assert views.semantic_scores is not None
    assert torch.allclose(views.semantic_scores.double(), naive_semantic(made, "masks"), atol=1e-5)
    assert_panoptic_is(views, made, MergeRules())
    assert_instances_are(views, made, MergeRules())


def test_nothing_is_kept() -> None:
    """All masks are void, and all classes stuff."""
    made = case("reduced")
    class_logits = made.class_logits.clone()
    class_logits[:, -1] = 50
    views = Case(class_logits, made.mask_logits, torch.zeros(5, dtype=torch.bool), made.geometry).views()
    assert views.panoptic is not None
    assert views.panoptic.segments == ()
    assert not views.panoptic.ids.any()
    assert views.panoptic.ids.shape == made.geometry.picture
    assert views.instances is not None
    assert views.instances.masks.shape == (0, *made.geometry.picture)
    assert views.semantic is not None
    assert views.semantic.shape == made.geometry.picture


def test_only_what_was_asked_for() -> None:
    made = case("unchanged")
    for task, present in (("semantic", "semantic"), ("panoptic", "panoptic"), ("instance", "instances")):
        views = made.views(tasks=(task,))
        filled = [name for name in ("semantic", "panoptic", "instances") if getattr(views, name) is not None]
        assert filled == [present]


@pytest.mark.parametrize("semantic_resize", ["masks", "scores"])
def test_tiles_that_do_not_divide_the_picture(monkeypatch: pytest.MonkeyPatch, semantic_resize: str) -> None:
    made = case("enlarged")
    whole = made.views(semantic_resize=semantic_resize, keep_scores=True)
    monkeypatch.setattr(merge, "TILE_VALUES", 1)
    assert len(merge._tiles(made.geometry.picture, 9)) > 20
    tiled = made.views(semantic_resize=semantic_resize, keep_scores=True)
    assert torch.allclose(tiled.semantic_scores, whole.semantic_scores, atol=1e-6)
    assert torch.equal(tiled.semantic, tiled.semantic_scores.argmax(0).int())
    assert (tiled.panoptic.ids != whole.panoptic.ids).float().mean() <= 1e-3
    assert len(tiled.panoptic.segments) == len(whole.panoptic.segments)
    assert torch.equal(tiled.instances.labels, whole.instances.labels)
    assert (tiled.instances.masks != whole.instances.masks).float().mean() <= 1e-3
    assert torch.allclose(tiled.instances.scores, whole.instances.scores, atol=1e-6)


SQUARE = Geometry(network=(8, 8), resized=(8, 8), picture=(8, 8))


def zeros_and(value: float) -> Tensor:
    """One mask on the picture's own grid, 0 in its left half and `value` in its right one."""
    mask = torch.zeros(1, 8, 8)
    mask[..., 4:] = value
    return mask


def test_a_logit_of_zero_is_inside_for_panoptic_and_outside_for_instances() -> None:
    certain = torch.tensor([[20.0, 0.0]])
    made = Case(certain, zeros_and(-3.0), torch.tensor([True]), SQUARE)
    views = made.views(MergeRules(overlap_threshold=0.0))
    assert torch.equal(views.panoptic.ids, (made.mask_logits[0] == 0).int())
    assert [s.area for s in views.panoptic.segments] == [32]
    assert not views.instances.masks.any()
    assert views.instances.scores.tolist() == [0.0]
    positive = Case(certain, zeros_and(3.0), torch.tensor([True]), SQUARE).views()
    assert torch.equal(positive.panoptic.ids, torch.ones(8, 8, dtype=torch.int32))
    assert torch.equal(positive.instances.masks[0], zeros_and(3.0)[0] > 0)
    assert positive.instances.scores.tolist() == pytest.approx([1 / (1 + 2.718281828459045**-3)], abs=1e-5)


def test_won_pixels_outside_the_mask_count_against_nothing() -> None:
    """A lone mask wins the whole picture, more than its own pixels, and keeps only its own."""
    made = Case(torch.tensor([[20.0, 0.0]]), zeros_and(-3.0), torch.tensor([True]), SQUARE)
    rules = MergeRules(overlap_threshold=1.0)
    views = made.views(rules)
    assert [s.area for s in views.panoptic.segments] == [32]
    assert_panoptic_is(views, made, rules)


def test_a_mask_that_wins_only_outside_of_itself_is_dropped() -> None:
    """The second mask wins the left half with low values and loses all of its own pixels on the right."""
    first = torch.full((8, 8), -9.0)
    first[:, 4:] = 9.0
    second = torch.full((8, 8), -1.0)
    second[:, 4:] = 0.5
    made = Case(
        torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]]),
        torch.stack([first, second]),
        torch.tensor([True, True]),
        SQUARE,
    )
    rules = MergeRules(overlap_threshold=0.0)
    views = made.views(rules)
    assert [s.label for s in views.panoptic.segments] == [0]
    assert_panoptic_is(views, made, rules)


def test_all_won_pixels_count_for_the_overlap() -> None:
    """The first mask loses half of its own pixels and wins as many outside of itself."""
    first, second = torch.empty(8, 8), torch.full((8, 8), -9.0)
    first[:, :4], first[:, 4:6], first[:, 6:] = 3.0, -1.0, -9.0
    second[:, :2], second[:, 6:] = 9.0, 9.0
    class_logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    made = Case(class_logits, torch.stack([first, second]), torch.tensor([True, True]), SQUARE)
    views = made.views()
    assert [(s.label, s.area) for s in views.panoptic.segments] == [(0, 16), (1, 32)]
    assert_panoptic_is(views, made, MergeRules())


def test_ties_go_to_the_first() -> None:
    """Classes that share a name have equal scores, and masks may be equal."""
    made = case("enlarged", queries=1, classes=2)
    tied = Case(
        torch.tensor([[3.0, 3.0, 0.0]] * 2), made.mask_logits.repeat(2, 1, 1), made.is_thing, made.geometry
    )
    for order in ("masks", "scores"):
        views = tied.views(MergeRules(overlap_threshold=0.0), semantic_resize=order)
        assert not views.semantic.any()
        assert [(s.id, s.label) for s in views.panoptic.segments] == [(1, 0)]


def many_classes(geometry: Geometry) -> Case:
    """LVIS's number of classes, and few masks, so that the masks themselves take little."""
    generator = torch.Generator().manual_seed(0)
    grid = (geometry.network[0] // 4, geometry.network[1] // 4)
    logits = torch.randn(4, 1204, generator=generator)
    return Case(
        logits, torch.randn(4, *grid, generator=generator), torch.ones(1203, dtype=torch.bool), geometry
    )


def test_memory_does_not_grow_with_classes_times_pixels() -> None:
    """Whole, the scores of a picture of 1333 x 1000 would take 6.4 GB."""
    made = many_classes(Geometry((1024, 1344), (1000, 1333), (1000, 1333)))
    assert peak_bytes(lambda: made.views(tasks=("semantic",))) < 64 << 20


@pytest.mark.parametrize("picture", [(300, 400), (20, 27), (1, 2)])
def test_memory_of_scores_before_resizing(picture: tuple[int, int]) -> None:
    """Whole, they would take 1.6 GB, however small the picture."""
    made = many_classes(Geometry((512, 672), (500, 666), picture))
    assert peak_bytes(lambda: made.views(tasks=("semantic",), semantic_resize="scores")) < 64 << 20


def test_without_masks_nothing_is_named() -> None:
    given = replace(case("enlarged"), class_logits=torch.zeros(0, 6), mask_logits=torch.zeros(0, 16, 24))
    views = given.views(keep_scores=True)
    assert views.semantic.shape == views.panoptic.ids.shape == (75, 135)
    assert (views.semantic == NOTHING).all()
    assert views.semantic_scores.shape == (5, 75, 135)
    assert not views.semantic_scores.any()
    assert not views.panoptic.ids.any()
    assert views.panoptic.segments == ()
    assert views.instances.masks.shape == (0, 75, 135)
    assert len(views.instances.labels) == len(views.instances.scores) == 0
    assert given.views(tasks=["instance"]).semantic is None
