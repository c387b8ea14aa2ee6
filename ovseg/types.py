"""The values that pass between the parts: frozen, validated when made, shapes stated.

Letters in shapes: b pictures, q mask proposals, k classes, c channels, e text-space dimensions, h w a grid of
pixels or features (rows first), n instances. Pixel coordinates are (row, column) from the top left corner.

Everything here holds torch tensors; what must load without torch (class lists) lives in `ovseg.vocabulary`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.image import TASKS as TASKS
from ovseg.image import Image as Image
from ovseg.image import Task as Task
from ovseg.vocabulary import Vocabulary

NOTHING = -1
"""Value of a semantic map where no class was given."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What other parts must know of an image encoder before they can be built.

    Attributes:
        channels: stride in pixels -> channels of the pyramid map at that stride.
        dense_channels: channels of `Features.dense`.
        pixel_mean, pixel_std: per RGB channel, in units of 0..255, that the network input is normalised with.
    """

    channels: Mapping[int, int]
    dense_channels: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(ImageSpec):
    """What other parts must know of a backbone, an image encoder with a text space.

    Attributes:
        embed_dim: dimensions of the text space that `Backbone.project` and `encode_text` share.
    """

    embed_dim: int


@dataclass(frozen=True)
class GlobalAttention:
    """What one self-attention block over a whole picture looks with; its weights are made by who needs them.

    The logit of query i at (row, column) y for key j at x is ``queries[i] . keys[j] / sqrt(d)`` plus, where
    there are biases, ``row_bias[i, row of x] + column_bias[i, column of x]``.

    Attributes:
        queries, keys, values: of every position of the grid, row by row.
        row_bias, column_bias: relative-position terms of each query for each row and column of keys, or None.
        grid: (rows, columns) of the whole grid, padding included.
        valid: (rows, columns) of its part, from the top left, that shows the picture.
    """

    queries: Float[Tensor, "b heads n d"]
    keys: Float[Tensor, "b heads n d"]
    values: Float[Tensor, "b heads n d"]
    row_bias: Float[Tensor, "b heads n rows"] | None
    column_bias: Float[Tensor, "b heads n columns"] | None
    grid: tuple[int, int]
    valid: tuple[int, int]


@dataclass(frozen=True)
class Features:
    """What an image encoder says of a batch of pictures.

    Attributes:
        pyramid: stride in pixels -> feature map at that stride.
        dense: the last map; of a CLIP, the last before its projection into text space.
        image_size: (height, width) in pixels of the (padded) network input.
        images: the normalised network input itself, for parts that look at pixels; None if not kept.
        last_attention: of the last block, where the encoder is a transformer that hands it out.
    """

    pyramid: Mapping[int, Float[Tensor, "b _ _ _"]]
    dense: Float[Tensor, "b c h w"]
    image_size: tuple[int, int]
    images: Float[Tensor, "b 3 H W"] | None = None
    last_attention: GlobalAttention | None = None


@dataclass(frozen=True)
class MaskPrompts:
    """Where a promptable mask generator should look, in one picture.

    Attributes:
        points: (x, y) in pixels of the network input, one positive point per prompt, or None.
        boxes: (x_min, y_min, x_max, y_max) in pixels, inclusive, or None.
        masks: low-resolution mask logits per prompt, or None.
    """

    points: Float[Tensor, "n 2"] | None = None
    boxes: Float[Tensor, "n 4"] | None = None
    masks: Float[Tensor, "n h w"] | None = None

    def __post_init__(self) -> None:
        if self.points is None and self.boxes is None and self.masks is None:
            raise ValueError("MaskPrompts needs points, boxes or masks; all three are None.")


@dataclass(frozen=True)
class MaskProposals:
    """Class-agnostic masks and what a classifier needs to name them.

    Attributes:
        logits: mask logits; positive means inside.
        pixel_features: per-pixel features on the grid of `logits`, or None if the generator has none.
        queries: one embedding per proposal, or None.
        scores: predicted mask quality in 0..1, or None.
        earlier: the proposals of earlier decoder layers, first layer first; filled in training only.
        counts: per picture, how many of the first proposals are its own, the others only pad the batch; None
            if all are.
    """

    logits: Float[Tensor, "b q h w"]
    pixel_features: Float[Tensor, "b c h w"] | None = None
    queries: Float[Tensor, "b q d"] | None = None
    scores: Float[Tensor, "b q"] | None = None
    earlier: tuple["MaskProposals", ...] = ()
    counts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class TextEmbeddings:
    """A vocabulary in text space.

    Attributes:
        rows: one L2-normalised row per synonym, in the order of the vocabulary.
        class_of_row: index of the class that each row belongs to, ascending.
        is_seen: per class, whether one of its names was a training name (FC-CLIP's rule); all False if
            untrained.
    """

    rows: Float[Tensor, "s e"]
    class_of_row: Int[Tensor, " s"]
    is_seen: Bool[Tensor, " k"]

    def to(self, device: torch.device) -> "TextEmbeddings":
        """The same on another device."""
        return TextEmbeddings(self.rows.to(device), self.class_of_row.to(device), self.is_seen.to(device))


@dataclass(frozen=True)
class Segment:
    """One region of a panoptic map.

    Attributes:
        id: value of its pixels in `Panoptic.ids`, from 1.
        label: class index in the vocabulary.
        is_thing: whether the class is countable.
        score: class probability in 0..1, or None where a merge rule gives none.
        area: pixels.
    """

    id: int
    label: int
    is_thing: bool
    score: float | None
    area: int


@dataclass(frozen=True)
class Panoptic:
    """A partition of the picture; 0 in `ids` is nothing."""

    ids: Int[Tensor, "h w"]
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        listed = [segment.id for segment in self.segments]
        if len(set(listed)) != len(listed) or 0 in listed:
            raise ValueError(f"Segment ids must be unique and not 0, got {listed}.")


@dataclass(frozen=True)
class Instances:
    """Scored, possibly overlapping masks, in the order the method gives them.

    Attributes:
        masks: true inside.
        labels: class index in the vocabulary.
        scores: confidence in 0..1.
    """

    masks: Bool[Tensor, "n h w"]
    labels: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]


@dataclass(frozen=True)
class Prediction:
    """What a method says of one picture, at the picture's own size, on the CPU.

    Attributes:
        vocabulary: the classes that the labels index.
        image_size: (height, width) in pixels of the picture.
        semantic: class index per pixel, `NOTHING` where none was given; None if not asked for.
        panoptic, instances: None if not asked for.
        seconds: stage name -> seconds, as measured by the method.
    """

    vocabulary: Vocabulary
    image_size: tuple[int, int]
    semantic: Int[Tensor, "h w"] | None = None
    panoptic: Panoptic | None = None
    instances: Instances | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        maps = {
            "semantic": self.semantic,
            "panoptic": self.panoptic.ids if self.panoptic else None,
            "instances": self.instances.masks if self.instances else None,
        }
        for name, value in maps.items():
            if value is not None and tuple(value.shape[-2:]) != self.image_size:
                raise ValueError(f"{name} has size {tuple(value.shape[-2:])}, the picture {self.image_size}.")


@dataclass(frozen=True)
class Targets:
    """The truth of one training picture.

    Attributes:
        labels: class index in the training vocabulary.
        masks: one per label, true inside, on the picture's pixels. Crowds are left out; a mask that lost all
            its pixels to a crop stays, all false.
    """

    labels: Int[Tensor, " n"]
    masks: Bool[Tensor, "n h w"]


@dataclass(frozen=True)
class TrainingBatch:
    """What one training step sees of the data, in one process.

    Attributes:
        images: RGB in 0..255, crops of one size; the method normalises and pads them.
        targets: one per picture, masks at the pictures' size.
    """

    images: UInt8[Tensor, "b h w 3"]
    targets: tuple[Targets, ...]

    def __post_init__(self) -> None:
        size = tuple(self.images.shape[1:3])
        sizes = [tuple(target.masks.shape[-2:]) for target in self.targets]
        if sizes != [size] * len(self.images):
            raise ValueError(f"TrainingBatch: {len(self.images)} pictures of {size}, masks of {sizes}.")

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "TrainingBatch":
        """The same on another device."""
        targets = tuple(
            Targets(*(tensor.to(device, non_blocking=non_blocking) for tensor in (one.labels, one.masks)))
            for one in self.targets
        )
        return TrainingBatch(self.images.to(device, non_blocking=non_blocking), targets)

    def pin_memory(self) -> "TrainingBatch":
        """The same in page-locked memory; called by torch's loaders."""
        targets = tuple(Targets(one.labels.pin_memory(), one.masks.pin_memory()) for one in self.targets)
        return TrainingBatch(self.images.pin_memory(), targets)


@dataclass(frozen=True)
class Scores:
    """What an evaluator says in the end.

    Attributes:
        values: metric name -> value in 0..100 (NaN where it is not defined), the headline first. Names with a
            slash are parts: ``PQ``, ``PQ/things``, ``PQ/seen``.
        per_class: metric name -> one value per class of the vocabulary, NaN where it is not defined.
        intervals: metric name -> (low, high), the 95 % bootstrap interval over pictures.
        pictures: how many records it is of.
    """

    values: Mapping[str, float]
    per_class: Mapping[str, Sequence[float]]
    intervals: Mapping[str, tuple[float, float]]
    pictures: int


def checked_tasks(tasks: Sequence[str]) -> tuple[Task, ...]:
    """The tasks without repeats, in the canonical order.

    Raises:
        ConfigError: there is none, one is unknown, or they are no list.
    """
    if isinstance(tasks, str):
        raise ConfigError(f"tasks={tasks!r} is a lone name. Give a list: tasks=[{tasks!r}].")
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        given = ", ".join(map(repr, unknown)) or "none"
        raise ConfigError(f"Unknown tasks: {given}. Allowed are one or more of {', '.join(TASKS)}.")
    return tuple(task for task in TASKS if task in tasks)
