"""Name pixels by CLIP's own patches: windows, a backbone whose last block keeps places apart, class names.

Which method it is depends on the backbone's last block; see the README beside this file.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone, Classifier
from ovseg.models.clip_dense.pixels import NamedPixels, WindowGeometry, name_pixels
from ovseg.models.common.label_views import find_regions, instance_view, panoptic_view
from ovseg.models.common.one_by_one import OneByOne
from ovseg.models.common.preprocess import normalise_and_pad, resize_short_side
from ovseg.models.common.stopwatch import Stopwatch
from ovseg.models.common.text import TextCache
from ovseg.models.common.windows import crop, windows
from ovseg.types import NOTHING, Image, Prediction, Task, TextEmbeddings
from ovseg.vocabulary import Vocabulary, load_templates


class ClipDense(OneByOne):
    """Pixels named one by one.

    Args:
        backbone: a CLIP whose `Features.dense` has a place for every patch.
        classifier: gives logits per pixel and synonym, without proposals.
        text_cache: for text embeddings.
        short_side, long_side: pixels; a picture is resized so that its short side is `short_side`, or less
            where its long side would exceed `long_side`.
        window, stride: side and distance of the windows in pixels; they fit the patches of the
            backbone. Where a picture is smaller it is padded with the mean colour.
        logit_scale: factor on the logits before the softmax over all synonyms.
        prob_threshold: pixels whose class is less likely are given up; 0 keeps all.
        below_threshold: what becomes of those: the first class, which the published lists with a background
            have there, or no class.
        min_area: pixels; smaller regions of things are neither segments nor instances.
        instances_per_image: the regions of highest score that become instances.

    Raises:
        ConfigError: a size or threshold is out of its range.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        classifier: Classifier,
        text_cache: TextCache,
        short_side: int = 336,
        long_side: int = 2048,
        window: int = 224,
        stride: int = 112,
        logit_scale: float = 40.0,
        prob_threshold: float = 0.0,
        below_threshold: Literal["first_class", "nothing"] = "first_class",
        min_area: int = 100,
        instances_per_image: int = 100,
    ) -> None:
        super().__init__(text_cache=text_cache, templates=load_templates("imagenet"), training_names=())
        if not 1 <= short_side <= long_side:
            raise ConfigError(f"clip_dense: short_side={short_side} must be in 1..long_side={long_side}.")
        if not 1 <= stride <= window:
            raise ConfigError(f"clip_dense: stride={stride} must be in 1..window={window}.")
        if not logit_scale > 0:
            raise ConfigError(f"clip_dense: logit_scale={logit_scale} must be above 0.")
        if not 0 <= prob_threshold <= 1:
            raise ConfigError(f"clip_dense: prob_threshold={prob_threshold} must be in 0..1.")
        if min_area < 0 or instances_per_image < 1:
            raise ConfigError(
                f"clip_dense: min_area={min_area} must be 0 or more, and "
                f"instances_per_image={instances_per_image} at least 1."
            )
        self.backbone = backbone
        self.classifier = classifier
        self.short_side, self.long_side = short_side, long_side
        self.window, self.stride = window, stride
        self.logit_scale = logit_scale
        self.prob_threshold, self.below_threshold = prob_threshold, below_threshold
        self.min_area, self.instances_per_image = min_area, instances_per_image

    def name_pixels(self, image: Image, text: TextEmbeddings, watch: Stopwatch) -> NamedPixels:
        """The label map of one picture, before any threshold."""
        with watch.stage("preprocess"):
            resized = resize_short_side(image, self.short_side, self.long_side, by="opencv")
            pixels = torch.tensor(np.ascontiguousarray(resized), device=self.device)[None]
            network_input = normalise_and_pad(pixels, self.backbone.spec, divisor=1)
            network = (network_input.shape[-2], network_input.shape[-1])
            places = windows(network, window=self.window, stride=self.stride)
            batch = pad_to_window(crop(network_input, places), self.window)
        with watch.stage("backbone"):
            features = self.backbone(batch)
        with watch.stage("classifier"):
            logits = self.classifier(self.backbone, features, text)
        with watch.stage("outputs"):
            geometry = WindowGeometry(
                places=places,
                padded=(batch.shape[-2], batch.shape[-1]),
                network=network,
                picture=(image.shape[0], image.shape[1]),
            )
            return name_pixels(logits, text.class_of_row, geometry, logit_scale=self.logit_scale)

    def _predict_one(
        self,
        image: Image,
        vocabulary: Vocabulary,
        text: TextEmbeddings,
        tasks: Sequence[Task],
        watch: Stopwatch,
    ) -> Prediction:
        named = self.name_pixels(image, text, watch)
        with watch.stage("outputs"):
            given_up = 0 if self.below_threshold == "first_class" else NOTHING
            unlikely = named.probabilities < self.prob_threshold
            labels = named.labels.masked_fill(unlikely, given_up)
            size = (image.shape[0], image.shape[1])
            regions = []
            if tuple(tasks) != ("semantic",):
                is_thing = [entry.is_thing for entry in vocabulary.classes]
                regions = find_regions(labels, named.probabilities, is_thing, min_area=self.min_area)
            limit = self.instances_per_image
            return Prediction(
                vocabulary=vocabulary,
                image_size=size,
                semantic=labels.cpu() if "semantic" in tasks else None,
                panoptic=panoptic_view(regions, size) if "panoptic" in tasks else None,
                instances=instance_view(regions, size, limit=limit) if "instance" in tasks else None,
            )


def pad_to_window(images: Float[Tensor, "b 3 h w"], window: int) -> Float[Tensor, "b 3 H W"]:
    """Normalised pictures with zeros, the mean colour, right and below, up to a whole window."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, window - width, 0, window - height))
