"""Methods for which the windows of one picture are a batch, so that pictures come one after another."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch

from ovseg.interfaces import Backbone
from ovseg.models.common.method import BaseMethod
from ovseg.models.common.stopwatch import Stopwatch
from ovseg.types import Image, Prediction, Task, TextEmbeddings
from ovseg.vocabulary import Vocabulary


class OneByOne(BaseMethod):
    """A method that says what it makes of a single picture; arguments as `BaseMethod`.

    Attributes:
        backbone: whose text space the classes are embedded in; set by the constructor of a subclass.
    """

    backbone: Backbone

    @torch.no_grad()
    def predict_batch(
        self, images: Sequence[Image], vocabulary: Vocabulary, *, tasks: Sequence[Task]
    ) -> list[Prediction]:
        """Segment pictures, one after another; the time of each is their mean."""
        watch = Stopwatch(self.device)
        with watch.stage("text"):
            text = self.embed(self.backbone, vocabulary).to(self.device)
        predictions = [self._predict_one(image, vocabulary, text, tasks, watch) for image in images]
        share = {name: seconds / max(1, len(images)) for name, seconds in watch.seconds.items()}
        return [replace(prediction, seconds=share) for prediction in predictions]

    @abstractmethod
    def _predict_one(
        self,
        image: Image,
        vocabulary: Vocabulary,
        text: TextEmbeddings,
        tasks: Sequence[Task],
        watch: Stopwatch,
    ) -> Prediction:
        """The method, from a picture to the views asked for; `watch` takes the time of its stages."""
