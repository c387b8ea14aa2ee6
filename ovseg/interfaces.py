"""What a part must do to be composed with the others. Protocols only: nothing to inherit from.

Images inside a method are RGB, normalised by the backbone's `pixel_mean` and `pixel_std`, (b, 3, h, w).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ovseg.types import (
    BackboneSpec,
    Features,
    Image,
    MaskPrompts,
    MaskProposals,
    Prediction,
    Task,
    TextEmbeddings,
)
from ovseg.vocabulary import Vocabulary

Precision = Literal["fp32", "fp16", "bf16"]


@runtime_checkable
class TextEncoder(Protocol):
    """Prompts to vectors. Every CLIP backbone is one."""

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "n e"]:
        """Encode prompts into text space, in order, not normalised."""
        ...

    def text_fingerprint(self) -> str:
        """Digest of the architecture, tokenizer and weights that `encode_text` uses."""
        ...


@runtime_checkable
class Backbone(TextEncoder, Protocol):
    """Pictures to features, and features into text space."""

    @property
    def spec(self) -> BackboneSpec:
        """What other parts must know of it."""
        ...

    @property
    def weights_name(self) -> str | None:
        """Its published weights as `ovseg.weights.zoo` names them; None if it has none."""
        ...

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        """Features of a batch of normalised pictures."""
        ...

    def project(self, vectors: Float[Tensor, "*n c"]) -> Float[Tensor, "*n e"]:
        """Bring vectors of `Features.dense` into text space, not normalised."""
        ...

    def pool(self, features: Features, masks: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q e"]:
        """One text-space vector per mask, not normalised; `masks` are logits on `Features.dense`'s grid."""
        ...

    def text_logit_scale(self) -> float:
        """The factor on cosines that this CLIP was trained with, at most 100."""
        ...

    def load_weights(self, path: Path) -> None:
        """Fill from a file of its published weights.

        Raises:
            WeightsError: keys are missing, unexpected or of the wrong shape.
        """
        ...

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute pictures in another number format; features and vectors still come out in float32."""
        ...


@runtime_checkable
class MaskGenerator(Protocol):
    """Features to class-agnostic masks."""

    def __call__(self, features: Features, prompts: MaskPrompts | None = None) -> MaskProposals:
        """Propose masks; a generator that takes no prompts is given None."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Features to class scores, per proposal or, without proposals, per pixel."""

    def __call__(
        self,
        backbone: Backbone,
        features: Features,
        text: TextEmbeddings,
        proposals: MaskProposals | None = None,
    ) -> Float[Tensor, "b q k_and_void"] | Float[Tensor, "b k h w"]:
        """Logits whose softmax is the class probability; the last column of the first form is void."""
        ...


@runtime_checkable
class Method(Protocol):
    """A published method: the order in which the parts are used."""

    def predict_batch(
        self, images: Sequence[Image], vocabulary: Vocabulary, *, tasks: Sequence[Task]
    ) -> list[Prediction]:
        """Segment pictures; the result for each equals what it would be alone."""
        ...

    def load_weights(self, path: Path) -> None:
        """Fill the method from a file in its official layout.

        Raises:
            WeightsError: keys are missing, unexpected or of the wrong shape.
        """
        ...

    def prepare(self, *, device: torch.device, precision: Precision) -> None:
        """Move to a device and choose the heavy parts' number format; called once, after the weights."""
        ...
