"""What a part must do to be composed with the others. Protocols only: nothing to inherit from.

Images inside a method are RGB, normalised by the backbone's `pixel_mean` and `pixel_std`, (b, 3, h, w).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.dataset import Dataset as Dataset
from ovseg.truth import Truth
from ovseg.types import (
    BackboneSpec,
    Features,
    Image,
    ImageSpec,
    MaskPrompts,
    MaskProposals,
    Prediction,
    Scores,
    Task,
    TextEmbeddings,
    TrainingBatch,
)
from ovseg.vocabulary import Vocabulary

Precision = Literal["fp32", "fp16", "bf16"]

Record = Mapping[str, Any]
"""What an evaluator keeps of one picture: plain JSON values (numbers, strings, lists of them)."""


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
class Pretrained(Protocol):
    """A part with published weights of its own, which `weights=parts` fills it from."""

    @property
    def weights_name(self) -> str | None:
        """Its published weights as `ovseg.weights.zoo` names them, or a path; None if it has none."""
        ...

    def load_weights(self, path: Path) -> None:
        """Fill from a file of its published weights.

        Raises:
            WeightsError: keys are missing, unexpected or of the wrong shape.
        """
        ...


@runtime_checkable
class ImageEncoder(Pretrained, Protocol):
    """Pictures to features."""

    @property
    def spec(self) -> ImageSpec:
        """What other parts must know of it."""
        ...

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        """Features of a batch of normalised pictures."""
        ...

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute pictures in another number format; features and vectors still come out in float32."""
        ...


@runtime_checkable
class Backbone(ImageEncoder, TextEncoder, Protocol):
    """An image encoder whose features have a place in a text space."""

    @property
    def spec(self) -> BackboneSpec:
        """What other parts must know of it."""
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


@runtime_checkable
class LastBlock(Protocol):
    """What runs in the place of a CLIP ViT's last block, so that every token speaks for its own place.

    The image-text training looks at the class token alone; what the last block makes of the others is not
    about their places. Training-free methods differ in what they put there.
    """

    def __call__(
        self,
        block: nn.Module,
        tokens: Float[Tensor, "b n c"],
        grid: tuple[int, int],
        images: Float[Tensor, "b 3 H W"],
    ) -> Float[Tensor, "b c h w"]:
        """Run.

        Args:
            block: the `open_clip.transformer.ResidualAttentionBlock` whose weights are used.
            tokens: after the block before it, class token first, then `grid` row by row.
            grid: (rows, columns) of the picture's tokens.
            images: the windows of ONE picture, normalised as the backbone's spec says.

        Returns:
            A map of features before CLIP's last norm and projection; it may have another grid.
        """
        ...


@runtime_checkable
class MaskGenerator(Protocol):
    """Features to class-agnostic masks."""

    def __call__(self, features: Features, prompts: MaskPrompts | None = None) -> MaskProposals:
        """Propose masks; a generator that takes no prompts is given None."""
        ...


@runtime_checkable
class PromptableMaskGenerator(MaskGenerator, Protocol):
    """A mask generator with eyes of its own, which looks at a picture once and answers many prompts."""

    @property
    def input_side(self) -> int:
        """Long side of a picture in its network input, in pixels; prompts are given in this frame."""
        ...

    @property
    def mask_prompt_side(self) -> int:
        """Side of the square maps that it takes as mask prompts."""
        ...

    def encode(self, image: Image) -> Features:
        """Its own features of a picture at any size; `image_size` is the part of its input that shows it."""
        ...

    def enlarge(
        self, logits: Float[Tensor, "n h w"], features: Features, size: tuple[int, int]
    ) -> Float[Tensor, "n H W"]:
        """Mask logits of a proposal's grid, brought to `size` (height, width) of the picture."""
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
    ) -> Float[Tensor, "b q k_and_void"] | Float[Tensor, "b s h w"]:
        """Logits whose softmax is the probability.

        With proposals: per proposal and class, void last. Without: per pixel and synonym (row of `text`), so
        that maps are enlarged before they compete; the method joins the synonyms of a class afterwards.
        """
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


@runtime_checkable
class Training(Protocol):
    """A method while it is trained: an `nn.Module` whose forward gives the losses of a batch.

    Being called is all that happens in a step, so that `DistributedDataParallel` can wrap it. Its parameters
    with gradients are what is trained; frozen parts stay in eval mode whatever `train()` says.
    """

    def __call__(
        self,
        batch: TrainingBatch,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Mapping[str, Tensor]:
        """Losses by their names, already weighted: their sum is minimised.

        Sums over all processes where `torch.distributed` is initialised are divided by the sums of all
        processes, so that averaged gradients equal those of one process with all pictures.

        Args:
            batch: on the module's device.
            generator: of the random points; one per picture makes a picture's points independent of what
                shares its batch. None is torch's own of the device.
        """
        ...

    def parameter_groups(self, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for `torch.optim.AdamW`, each with `params`, `lr`, `weight_decay` and `name`."""
        ...

    def checkpoint_state(self, *, with_frozen: bool) -> dict[str, Tensor]:
        """Weights in the method's official layout, for the key `model` of a checkpoint.

        `Trainable.load_weights` reads it back; without the frozen parts it fetches those.
        """
        ...

    def metadata(self) -> dict[str, Any]:
        """Plain values about the training, for the key `ovseg` of a checkpoint, which `load_weights` reads.

        They hold the training vocabulary, so that inference knows which classes were seen.
        """
        ...


@runtime_checkable
class Trainable(Method, Protocol):
    """A method that can be trained."""

    def start_training(
        self,
        vocabulary: Vocabulary,
        *,
        recompute: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Training:
        """Freeze what is frozen, embed the vocabulary once, and give the module to be trained.

        It shares the method's parts: what is trained is this method. Called after `prepare`, whose precision
        is that of the frozen parts; the others are float32 under whatever autocast surrounds the call.

        Args:
            vocabulary: the classes that the targets' labels index.
            recompute: compute activations again in the backward pass where that saves memory.
            options: the method's own, as its `start_training` lists them.

        Raises:
            ConfigError: an option is unknown or out of its range, or a part cannot be trained.
        """
        ...


@runtime_checkable
class Evaluator(Protocol):
    """A metric over pictures. It never sees a model. Implementations are `torchmetrics.Metric`s.

    A picture is measured once, in any process; what was measured is a small record that can be stored,
    sent and added up later, so interrupted and sharded runs give the same numbers as one process.
    """

    @property
    def task(self) -> Task:
        """The view of predictions and truth that it compares."""
        ...

    def measure(self, prediction: Prediction, truth: Truth) -> Record:
        """One picture's share of the metric; a pure function."""
        ...

    def update(self, record: Record) -> None:
        """Add a picture's record to the state."""
        ...

    def compute(self) -> Scores:
        """The metric over all records so far, whatever their order and split over processes."""
        ...
