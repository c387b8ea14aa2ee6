"""FC-CLIP while it is trained: a batch in, weighted losses out.

Source: FC-CLIP (arXiv 2308.02487), section 4.1; official `fcclip/fcclip.py` and `train_net.py`.

Letters: b pictures, h w pixels of the network's input.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.errors import ConfigError, DataError
from ovseg.interfaces import Backbone, Classifier, MaskGenerator
from ovseg.models.common.preprocess import normalise_and_pad
from ovseg.models.fcclip.classifier import FCCLIPClassifier
from ovseg.models.fcclip.criterion import Criterion, LayerOutput
from ovseg.models.fcclip.mask_generator import Mask2Former
from ovseg.models.fcclip.point_sampling import Generators
from ovseg.models.fcclip.recompute import apply_layer
from ovseg.models.fcclip.weights import official_key, training_metadata, training_state
from ovseg.types import MaskProposals, Targets, TextEmbeddings, TrainingBatch
from ovseg.vocabulary import Vocabulary

SIZE_DIVISIBILITY = 32
NORMS = (nn.LayerNorm, nn.GroupNorm)


class FCCLIPTraining(nn.Module):
    """The trained parts of an FC-CLIP, the frozen one beside them, and the losses.

    The parts are those of the method. The backbone computes in its own number format, the pixel decoder, the
    class head and the losses in float32, the mask decoder in that of the autocast around the call.

    Args:
        backbone: the frozen CLIP; its features are computed without gradients.
        mask_generator, classifier: what is trained.
        vocabulary: whose classes the targets' labels index.
        text: the vocabulary in the backbone's text space; constants of the training, in no checkpoint.
        criterion: the losses.
        recompute: keep only the inputs of the decoders' layers and class heads for the backward pass.

    Raises:
        ConfigError: the mask generator or the classifier is not the one of FC-CLIP.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        mask_generator: MaskGenerator,
        classifier: Classifier,
        vocabulary: Vocabulary,
        text: TextEmbeddings,
        criterion: Criterion,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(mask_generator, Mask2Former) or not isinstance(classifier, FCCLIPClassifier):
            raise ConfigError(
                "fcclip is trained with model/mask_generator=mask2former and model/classifier=fcclip; this "
                f"model has {type(mask_generator).__name__} and {type(classifier).__name__}."
            )
        self.backbone = backbone
        self.mask_generator = mask_generator.requires_grad_(True)
        self.classifier = classifier.requires_grad_(True)
        self.vocabulary = vocabulary
        self.text = text
        self.criterion = criterion
        self.recompute = recompute

    def forward(self, batch: TrainingBatch, *, generator: Generators = None) -> dict[str, Float[Tensor, ""]]:
        """Weighted losses by their official names; their sum is minimised.

        Args:
            batch: on any device; labels on the CPU are checked without waiting for another device.
            generator: of the random points, in one piece or one per picture; None is torch's own.

        Raises:
            DataError: a label is outside the vocabulary.
        """
        self._check(batch)
        batch = batch.to(self.text.rows.device, non_blocking=True)
        network_input = normalise_and_pad(batch.images, self.backbone.spec, SIZE_DIVISIBILITY)
        return self.losses(network_input, batch.targets, generator=generator)

    def losses(
        self,
        network_input: Float[Tensor, "b 3 h w"],
        targets: Sequence[Targets],
        *,
        generator: Generators = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """As `forward`, of pictures that are normalised and padded; the targets are padded to them."""
        layers = self.layers(network_input)
        size = (network_input.shape[-2], network_input.shape[-1])
        with torch.autocast(network_input.device.type, enabled=False):
            return self.criterion(layers, [_padded(one, size) for one in targets], generators=generator)

    def layers(self, network_input: Float[Tensor, "b 3 h w"]) -> list[LayerOutput]:
        """Class and mask logits of the last decoder layer, of the initial queries, and of the layers between.

        The classes are those of the training vocabulary by the trained classifier alone, void last.
        """
        device, recompute = network_input.device.type, self.recompute
        with torch.autocast(device, enabled=False):
            features = self.backbone(network_input)
            pixels = self.mask_generator.pixel_decoder(features.pyramid, recompute=recompute)
        last = self.mask_generator.mask_decoder(pixels, keep_earlier=True, recompute=recompute)
        with torch.autocast(device, enabled=False):
            rows, class_of_row = self.classifier.with_void(self.text)
            return [
                LayerOutput(
                    class_logits=apply_layer(
                        self.classifier.in_vocabulary,
                        _in_float32(proposals),
                        rows,
                        class_of_row,
                        recompute=recompute,
                    ),
                    mask_logits=proposals.logits,
                )
                for proposals in (last, *last.earlier)
            ]

    def parameter_groups(self, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """One group per trained tensor, by the official rule.

        Norms and `torch.nn.Embedding`s do not decay; biases, the logit scale and the pixel decoder's level
        embedding, which is a bare parameter, do.

        Returns:
            Groups with `params`, `name` (official), `lr` and `weight_decay`, in the order of the modules.
        """
        return [
            {
                "params": [parameter],
                "name": official_key(f"{path}.{leaf}"),
                "lr": lr,
                "weight_decay": 0.0 if isinstance(module, (*NORMS, nn.Embedding)) else weight_decay,
            }
            for path, module in self.named_modules()
            for leaf, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        ]

    def checkpoint_state(self, *, with_frozen: bool) -> dict[str, Tensor]:
        """The weights under their official names, for the key `model` of a checkpoint.

        Args:
            with_frozen: the CLIP too, as the official code saves it. One that computes in half precision has
                lost bits, so its published weights are saved in its place.

        Raises:
            WeightsError: they cannot be had.
            ConfigError: there are none.
        """
        return training_state(
            self, self.backbone, training_classes=len(self.vocabulary), with_frozen=with_frozen
        )

    def metadata(self) -> dict[str, Any]:
        """Plain values for the key `ovseg` of a checkpoint: version and training vocabulary."""
        return training_metadata(self.vocabulary)

    def _check(self, batch: TrainingBatch) -> None:
        labels = torch.cat([target.labels for target in batch.targets])
        wrong = (labels < 0) | (labels >= len(self.vocabulary))
        if wrong.any():
            raise DataError(
                f"A training picture has the class index {int(labels[wrong][0])}; the vocabulary "
                f"'{self.vocabulary.name}' has {len(self.vocabulary)} classes, counted from 0. Train with "
                "the vocabulary of the data set."
            )


def _in_float32(proposals: MaskProposals) -> MaskProposals:
    """What the class head reads, in float32 whatever the decoder computed in."""
    assert proposals.pixel_features is not None
    assert proposals.queries is not None
    return MaskProposals(
        logits=proposals.logits.detach(),
        pixel_features=proposals.pixel_features.float(),
        queries=proposals.queries.float(),
    )


def _padded(targets: Targets, size: tuple[int, int]) -> Targets:
    """The masks on the grid of the network's input, false beyond the picture."""
    height, width = targets.masks.shape[-2:]
    return Targets(targets.labels, F.pad(targets.masks, (0, size[1] - width, 0, size[0] - height)))
