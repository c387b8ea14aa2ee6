"""FC-CLIP: propose masks, then name them, both from one frozen convolutional CLIP.

Source: Yu et al., Convolutions Die Hard (arXiv 2308.02487); official `fcclip/fcclip.py` at commit 2b0bbe2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone, Classifier, MaskGenerator
from ovseg.models.common.memory import release_freed_memory
from ovseg.models.common.merge import Geometry, MergeRules, SemanticResize, merge_masks
from ovseg.models.common.method import BaseMethod
from ovseg.models.common.preprocess import normalise_and_pad, resize_short_side
from ovseg.models.common.stopwatch import Stopwatch
from ovseg.models.common.text import TextCache
from ovseg.models.fcclip.weights import load_fcclip, trained_vocabulary
from ovseg.types import Image, MaskProposals, Prediction, Task, TextEmbeddings
from ovseg.vocabulary import Vocabulary, load_templates, load_vocabulary

if TYPE_CHECKING:
    from ovseg.models.fcclip.training import FCCLIPTraining

SIZE_DIVISIBILITY = 32


@dataclass(frozen=True)
class NamedMasks:
    """The network's word on a batch: proposals, and logits of their classes (void last)."""

    proposals: MaskProposals
    class_logits: Float[Tensor, "b q k_and_void"]


class FCCLIP(BaseMethod):
    """The method of the paper's figure 3.

    Args:
        backbone: the frozen CLIP.
        mask_generator: proposes masks from the backbone's pyramid.
        classifier: names them.
        text_cache: for text embeddings.
        training_vocabulary: built-in list whose names count as seen; None if nothing was trained. A
            checkpoint that says what it was trained with is believed instead.
        short_side, long_side: pixels; a picture is resized so that its short side is `short_side`, or less
            where its long side would exceed `long_side`.
        object_mask_threshold, overlap_threshold, instances_per_image: see `MergeRules`.
        semantic_resize: see `merge_masks`; "auto" is the official rule: "masks" when panoptic or instance
            output is asked for too, "scores" when semantic is asked for alone.
        stuff_instances: whether stuff classes may be instances; "auto" is the official rule: only when
            panoptic output is not asked for.

    Raises:
        ConfigError: a size or threshold is out of its range.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        mask_generator: MaskGenerator,
        classifier: Classifier,
        text_cache: TextCache,
        training_vocabulary: str | None = "coco_panoptic",
        short_side: int = 800,
        long_side: int = 1333,
        object_mask_threshold: float = 0.0,
        overlap_threshold: float = 0.8,
        instances_per_image: int = 100,
        semantic_resize: Literal["auto", "masks", "scores"] = "auto",
        stuff_instances: Literal["auto", "keep", "drop"] = "auto",
    ) -> None:
        super().__init__(
            text_cache=text_cache,
            templates=load_templates("vild"),
            training_names=load_vocabulary(training_vocabulary).synonyms if training_vocabulary else (),
        )
        if not 1 <= short_side <= long_side:
            raise ConfigError(f"fcclip: short_side={short_side} must be in 1..long_side={long_side}.")
        if instances_per_image < 1:
            raise ConfigError(f"fcclip: instances_per_image={instances_per_image} must be at least 1.")
        for name, value in (
            ("object_mask_threshold", object_mask_threshold),
            ("overlap_threshold", overlap_threshold),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"fcclip: {name}={value} must be in 0..1.")
        self.backbone = backbone
        self.mask_generator = mask_generator
        self.classifier = classifier
        self.short_side, self.long_side = short_side, long_side
        self.object_mask_threshold, self.overlap_threshold = object_mask_threshold, overlap_threshold
        self.instances_per_image = instances_per_image
        self.semantic_resize, self.stuff_instances = semantic_resize, stuff_instances

    @torch.no_grad()
    def predict_batch(
        self, images: Sequence[Image], vocabulary: Vocabulary, *, tasks: Sequence[Task]
    ) -> list[Prediction]:
        """Segment pictures; those of one size at the network's input run together.

        Padding takes part in the network, so a picture is never padded to the size of another.
        """
        watch = Stopwatch(self.device)
        with watch.stage("text"):
            text = self.embed(self.backbone, vocabulary).to(self.device)
        with watch.stage("preprocess"):
            resized = [resize_short_side(image, self.short_side, self.long_side) for image in images]
        predictions: dict[int, Prediction] = {}
        for group in _groups([picture.shape[:2] for picture in resized]):
            with watch.stage("preprocess"):
                batch = torch.stack([torch.tensor(np.ascontiguousarray(resized[i])) for i in group]).to(
                    self.device
                )
                network_input = normalise_and_pad(batch, self.backbone.spec, SIZE_DIVISIBILITY)
            named = self.name_masks(network_input, text, watch)
            for place, index in enumerate(group):
                geometry = Geometry(
                    network=_size(network_input.shape[-2:]),
                    resized=_size(resized[index].shape[:2]),
                    picture=_size(images[index].shape[:2]),
                )
                predictions[index] = self._view(named, place, vocabulary, geometry, tasks, watch)
        share = {name: seconds / max(1, len(images)) for name, seconds in watch.seconds.items()}
        return [replace(predictions[index], seconds=share) for index in range(len(images))]

    def name_masks(
        self, network_input: Float[Tensor, "b 3 h w"], text: TextEmbeddings, watch: Stopwatch
    ) -> NamedMasks:
        """Propose masks and name them; the input is normalised and padded."""
        with watch.stage("backbone"):
            features = self.backbone(network_input)
        with watch.stage("mask_generator"):
            proposals = self.mask_generator(features)
        release_freed_memory()  # memory is fullest here, and much of it are holes that both parts left
        with watch.stage("classifier"):
            class_logits = self.classifier(self.backbone, features, text, proposals)
        return NamedMasks(proposals=proposals, class_logits=class_logits)

    def load_weights(self, path: Path) -> None:
        """Fill from an official checkpoint, with or without the frozen CLIP in it; see `load_fcclip`.

        A checkpoint of a training of ours says which names were trained with; those count as seen from then
        on, in place of the constructor's `training_vocabulary`.

        Raises:
            WeightsError: the file is damaged or of another architecture.
        """
        trained = trained_vocabulary(path)
        clip = load_fcclip(self, self.backbone, path)
        self._completed_from = () if clip is None else (clip,)
        if trained is not None:
            self._training_names = trained.synonyms

    def start_training(
        self,
        vocabulary: Vocabulary,
        *,
        recompute: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> "FCCLIPTraining":
        """The module to be trained, which shares this method's parts; the vocabulary is embedded here, once.

        The vocabulary's names count as seen from then on.

        Args:
            vocabulary: the classes that the targets' labels index.
            recompute: see `FCCLIPTraining`.
            options: see `LossOptions`.

        Raises:
            ConfigError: an option is unknown or out of its range, or a part cannot be trained.
            VocabularyError: the vocabulary cannot be encoded.
        """
        # scipy takes a while to import, and predicting does not need it.
        from ovseg.models.fcclip.loss_options import LossOptions
        from ovseg.models.fcclip.training import FCCLIPTraining

        criterion = LossOptions.of(options).criterion()
        training = FCCLIPTraining(
            backbone=self.backbone,
            mask_generator=self.mask_generator,
            classifier=self.classifier,
            vocabulary=vocabulary,
            text=self.embed(self.backbone, vocabulary).to(self.device),
            criterion=criterion,
            recompute=recompute,
        )
        self._training_names = vocabulary.synonyms
        return training

    def _view(
        self,
        named: NamedMasks,
        place: int,
        vocabulary: Vocabulary,
        geometry: Geometry,
        tasks: Sequence[Task],
        watch: Stopwatch,
    ) -> Prediction:
        count = named.proposals.counts[place] if named.proposals.counts else None
        with watch.stage("outputs"):
            views = merge_masks(
                named.class_logits[place, :count],
                named.proposals.logits[place, :count],
                torch.tensor([entry.is_thing for entry in vocabulary.classes], device=self.device),
                geometry,
                tasks=tasks,
                rules=self._rules(tasks),
                semantic_resize=self._semantic_resize(tasks),
            )
        return Prediction(
            vocabulary=vocabulary,
            image_size=geometry.picture,
            semantic=views.semantic,
            panoptic=views.panoptic,
            instances=views.instances,
        )

    def _rules(self, tasks: Sequence[Task]) -> MergeRules:
        things_only = self.stuff_instances == "drop" or (
            self.stuff_instances == "auto" and "panoptic" in tasks
        )
        return MergeRules(
            object_mask_threshold=self.object_mask_threshold,
            overlap_threshold=self.overlap_threshold,
            instances_per_image=self.instances_per_image,
            things_only=things_only,
        )

    def _semantic_resize(self, tasks: Sequence[Task]) -> SemanticResize:
        if self.semantic_resize != "auto":
            return self.semantic_resize
        return "scores" if tuple(tasks) == ("semantic",) else "masks"


def _groups(sizes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Indices of equal sizes together, in the order in which the sizes first occur."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    return list(groups.values())


def _size(shape: Sequence[int]) -> tuple[int, int]:
    height, width = shape
    return height, width
