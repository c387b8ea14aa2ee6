"""Trident: CLIP names, DINO and SAM join what belongs together, SAM draws the borders.

Paper: Shi, Dong, Xu: Harnessing Vision Foundation Models for High-Performance, Training-Free Open Vocabulary
Segmentation (arXiv 2411.09219). What differs from the official code is in README.md.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone, Classifier, PromptableMaskGenerator
from ovseg.models.common.label_views import Region, find_regions, instance_view, panoptic_view
from ovseg.models.common.one_by_one import OneByOne
from ovseg.models.common.pamr import pamr
from ovseg.models.common.pixels import PixelScores, enlarge, score_pixels
from ovseg.models.common.preprocess import normalise_and_pad, resize_short_side
from ovseg.models.common.stopwatch import Stopwatch
from ovseg.models.common.text import TextCache
from ovseg.models.common.windows import crop, fit, splice, windows
from ovseg.models.trident.drawing import DrawingRules, Drawn, draw, half_size
from ovseg.models.trident.inputs import halved, sam_picture
from ovseg.models.trident.naming import Background, class_of_row, join_alike
from ovseg.models.trident.refinement import Labelled, unrefined
from ovseg.models.trident.segments import segments
from ovseg.types import NOTHING, Features, Image, Prediction, Task, TextEmbeddings
from ovseg.vocabulary import Vocabulary, load_templates


class Trident(OneByOne):
    """The method of the paper's figure 2.

    Args:
        backbone: CLIP, whose last block joins what belongs together within a window.
        classifier: gives a cosine per pixel and synonym.
        mask_generator: SAM; its last attention joins what belongs together in the picture, its masks are the
            borders of the result.
        text_cache: for text embeddings.
        short_side, long_side: pixels; CLIP sees the picture resized so that its short side is `short_side`,
            or less where its long side would exceed `long_side`. A `short_side` of None leaves it as it is.
        window, stride: side and distance of CLIP's windows in pixels.
        logit_scale: factor on the cosines before the softmax.
        cos_fac, refine_neg_cos: see `sam_correlation`.
        halves: show SAM the left and the right half of a picture one by one, which doubles its resolution.
        pamr_steps, pamr_dilations: see `pamr`; without steps there is none of it.
        background: how synonyms join. "any_class": a class is as likely as its likeliest synonym.
            "official": all rows beyond one per class are taken for the first class's, which is the same
            where no other class has synonyms, and otherwise gives classes each other's names.
        prob_threshold: pixels whose class is less likely are given up; 0 keeps all.
        below_threshold: what becomes of those: the first class, which the published lists with a background
            have there, or no class.
        refine: whether SAM draws the borders.
        coarse_threshold: probability below which a pixel prompts nothing.
        minimal_area: of a region that prompts SAM, in pixels of the picture at half its size.
        mask_prompt_scale: factor on the probabilities that are SAM's mask prompts.
        iou_threshold: quality that a mask must exceed, as SAM predicts it.
        failed_regions: whether a region whose mask was dropped may win back pixels from the masks of others.
            "official": never. "may_win": where its class is likelier than their scores.
        repeat_overlap: for segments and instances: intersection over union above which two masks of a class
            are one.
        instances_per_image: instances of highest score that are kept.

    Raises:
        ConfigError: a size or threshold is out of its range; the message lists all.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        classifier: Classifier,
        mask_generator: PromptableMaskGenerator,
        text_cache: TextCache,
        short_side: int | None = 448,
        long_side: int = 2048,
        window: int = 336,
        stride: int = 224,
        logit_scale: float = 40.0,
        cos_fac: float = 1.2,
        refine_neg_cos: bool = True,
        halves: bool = False,
        pamr_steps: int = 0,
        pamr_dilations: tuple[int, ...] = (8, 16),
        background: Background = "any_class",
        prob_threshold: float = 0.0,
        below_threshold: Literal["first_class", "nothing"] = "first_class",
        refine: bool = True,
        coarse_threshold: float = 0.2,
        minimal_area: int = 225,
        mask_prompt_scale: float = 0.005,
        iou_threshold: float = 0.8,
        failed_regions: Literal["official", "may_win"] = "official",
        repeat_overlap: float = 0.7,
        instances_per_image: int = 100,
    ) -> None:
        super().__init__(text_cache=text_cache, templates=load_templates("imagenet"), training_names=())
        self.patch = max(backbone.spec.channels)
        sizes = f"in 1..long_side={long_side}"
        patches = f"a multiple of CLIP's patch of {self.patch} pixels"
        _check(
            (short_side is None or 1 <= short_side <= long_side, f"short_side={short_side}", sizes),
            (window > 0 and window % self.patch == 0, f"window={window}", patches),
            (stride > 0 and stride % self.patch == 0, f"stride={stride}", patches),
            (stride <= window, f"stride={stride}", f"at most window={window}"),
            (logit_scale > 0, f"logit_scale={logit_scale}", "above 0"),
            (pamr_steps >= 0, f"pamr_steps={pamr_steps}", "0 or more"),
            (all(d > 0 for d in pamr_dilations), f"pamr_dilations={list(pamr_dilations)}", "above 0"),
            (0 <= prob_threshold <= 1, f"prob_threshold={prob_threshold}", "in 0..1"),
            (0 <= coarse_threshold <= 1, f"coarse_threshold={coarse_threshold}", "in 0..1"),
            (minimal_area >= 0, f"minimal_area={minimal_area}", "0 or more"),
            (0 <= repeat_overlap <= 1, f"repeat_overlap={repeat_overlap}", "in 0..1"),
            (instances_per_image >= 1, f"instances_per_image={instances_per_image}", "1 or more"),
        )
        self.backbone, self.classifier, self.mask_generator = backbone, classifier, mask_generator
        self.short_side, self.long_side = short_side, long_side
        self.window, self.stride = window, stride
        self.logit_scale, self.background = logit_scale, background
        self.cos_fac, self.refine_neg_cos, self.halves = cos_fac, refine_neg_cos, halves
        self.pamr_steps, self.pamr_dilations = pamr_steps, pamr_dilations
        self.prob_threshold, self.below_threshold = prob_threshold, below_threshold
        self.refine = refine
        self.repeat_overlap, self.instances_per_image = repeat_overlap, instances_per_image
        self.rules = DrawingRules(
            coarse_threshold=coarse_threshold,
            minimal_area=minimal_area,
            mask_prompt_scale=mask_prompt_scale,
            iou_threshold=iou_threshold,
            failed_may_win=failed_regions == "may_win",
        )

    def _predict_one(
        self,
        image: Image,
        vocabulary: Vocabulary,
        text: TextEmbeddings,
        tasks: Sequence[Task],
        watch: Stopwatch,
    ) -> Prediction:
        """The method, from a picture to its views."""
        shown = sam_picture(image, self.patch)
        with watch.stage("backbone"):
            resized = self.resized(image)
            named = self.spliced(resized)
        with watch.stage("mask_generator"):
            parts = halved(shown) if self.halves else (shown,)
            looks = [self.mask_generator.encode(part) for part in parts]
        with watch.stage("correlation"):
            named = join_alike(named, looks, cos_fac=self.cos_fac, refine_neg_cos=self.refine_neg_cos)
        with watch.stage("classifier"):
            features = Features(pyramid={}, dense=named, image_size=_size(shown.shape))
            logits = self.classifier(self.backbone, features, text)[0]
        with watch.stage("pixels"):
            scores = self.scores(logits, text, resized, _size(image.shape))
            coarse = self.coarse(scores)
        if not self.refine:
            with watch.stage("outputs"):
                return self._views(coarse, None, vocabulary, tasks)
        with watch.stage("refinement"):
            whole = self.mask_generator.encode(shown) if self.halves else looks[0]
            drawn = draw(coarse, scores, self.mask_generator, whole, _size(shown.shape), self.rules)
        with watch.stage("outputs"):
            return self._views(drawn.found, drawn, vocabulary, tasks)

    def resized(self, image: Image) -> Float[Tensor, "1 3 h w"]:
        """The picture at the size and in the units that CLIP sees."""
        if self.short_side is not None:
            image = resize_short_side(image, self.short_side, self.long_side, by="opencv")
        pixels = torch.tensor(np.ascontiguousarray(image), device=self.device)[None]
        return normalise_and_pad(pixels, self.backbone.spec, 1)

    def spliced(self, resized: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 c H W"]:
        """CLIP's features of all windows as one map, before its last norm and projection (section 3.2)."""
        fitted = fit(resized, patch=self.patch, window=self.window)
        size = _size(fitted.shape[2:])
        places = windows(size, window=self.window, stride=self.stride)
        dense = self.backbone(crop(fitted, places)).dense
        return splice(dense, places, size=size, patch=self.patch)

    def scores(
        self,
        logits: Float[Tensor, "s h w"],
        text: TextEmbeddings,
        resized: Float[Tensor, "1 3 H W"],
        size: tuple[int, int],
    ) -> PixelScores:
        """Class probabilities at the picture's size."""
        if self.pamr_steps:
            maps, colours = enlarge(logits, size), enlarge(resized[0], size)
            logits = pamr(maps, colours, steps=self.pamr_steps, dilations=self.pamr_dilations)
        rows = class_of_row(text, self.background)
        coarser = half_size(size) if self.refine and self.rules.coarse_threshold > 0 else None
        return score_pixels(logits, rows, size, scale=self.logit_scale, coarser=coarser)

    def coarse(self, scores: PixelScores) -> Labelled:
        """The best class of each pixel, where it is likely enough."""
        given_up = 0 if self.below_threshold == "first_class" else NOTHING
        unlikely = scores.probabilities < self.prob_threshold
        return unrefined(scores.labels.masked_fill(unlikely, given_up), scores.probabilities)

    def _views(
        self, found: Labelled, drawn: Drawn | None, vocabulary: Vocabulary, tasks: Sequence[Task]
    ) -> Prediction:
        """Results; `drawn` is None if nothing was drawn."""
        size = _size(found.labels.shape)
        parts: list[Region] = []
        if tuple(tasks) != ("semantic",):
            is_thing = [entry.is_thing for entry in vocabulary.classes]
            if drawn is None:
                least = 4 * self.rules.minimal_area
                parts = find_regions(found.labels, found.probabilities, is_thing, min_area=least)
            else:
                parts = segments(drawn, is_thing, overlap=self.repeat_overlap)
        limit = self.instances_per_image
        return Prediction(
            vocabulary=vocabulary,
            image_size=size,
            semantic=found.labels.cpu() if "semantic" in tasks else None,
            panoptic=panoptic_view(parts, size) if "panoptic" in tasks else None,
            instances=instance_view(parts, size, limit=limit) if "instance" in tasks else None,
        )


def _check(*rules: tuple[bool, str, str]) -> None:
    """Refuse settings: each rule is whether it holds, what was given, and what must be."""
    faults = [f"trident: {given} must be {wanted}." for holds, given, wanted in rules if not holds]
    if faults:
        raise ConfigError("\n".join(faults))


def _size(shape: Sequence[int]) -> tuple[int, int]:
    height, width = shape[:2]
    return height, width
