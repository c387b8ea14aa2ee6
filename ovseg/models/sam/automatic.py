"""SAM's masks of everything: a grid of points as prompts, the good answers without repeats.

Source: SAM (arXiv 2304.02643), section 5 and appendix B. The package's `SamAutomaticMaskGenerator` runs as it
is, prompts and filters included; only the picture is encoded by this project's faster encoder.

Letters: b pictures, q masks, h w their grid, H W the network input of the backbone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from segment_anything.utils.amg import rle_to_mask
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.models.sam.architecture import PATCH, SamSize, build_parts, sam_size
from ovseg.models.sam.encoder import encode_pixels, set_matmul_dtype
from ovseg.models.sam.picture import PIXEL_MEAN, PIXEL_STD, input_size, network_input
from ovseg.models.sam.weights import load_sam
from ovseg.types import BackboneSpec, Features, Image, MaskPrompts, MaskProposals

STRIDE = 4
"""Pixels of the network input per position of a mask's logits, along each axis."""

LOGIT = 10.0
"""Logit of a position that a mask fills; its negative where the mask is not, 0 where it fills one half."""


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Arguments of the package's `SamAutomaticMaskGenerator`, which explains them."""

    points_per_side: int
    points_per_batch: int
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    box_nms_thresh: float
    crop_n_layers: int
    crop_nms_thresh: float
    crop_overlap_ratio: float
    crop_n_points_downscale_factor: int
    min_mask_region_area: int


class SamAutomatic(nn.Module):
    """SAM as a mask generator that takes no prompts; its parameters are frozen.

    Args:
        image_encoder, prompt_encoder, mask_decoder: the package's modules.
        size: of these.
        backbone: whose network input SAM looks at.
        settings: of the grid of points and of the filters.
        weights_name: of its published weights; None if it has none.
    """

    def __init__(
        self,
        *,
        image_encoder: ImageEncoderViT,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        size: SamSize,
        backbone: BackboneSpec,
        settings: GridSettings,
        weights_name: str | None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.size = size
        self.settings = settings
        self.weights_name = weights_name
        self._mean, self._std = backbone.pixel_mean, backbone.pixel_std
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, features: Features, prompts: MaskPrompts | None = None) -> MaskProposals:
        """The masks of each picture of a batch, best predicted IoU first, at stride 4; takes no prompts.

        Pictures with fewer masks than another are filled up with empty ones (`MaskProposals.counts`).

        Raises:
            ConfigError: the backbone keeps no pictures, or their sides are no multiples of the stride.
        """
        images = features.images
        if images is None or images.shape[-2] % STRIDE or images.shape[-1] % STRIDE:
            shape = "none" if images is None else f"{images.shape[-2]} x {images.shape[-1]}"
            raise ConfigError(
                "sam_automatic looks at the backbone's network input (Features.images), whose sides must be "
                f"multiples of {STRIDE}; it is given {shape}. Use one of FC-CLIP's backbones: "
                "model/backbone=clip_convnext_large_d_320."
            )
        found = [self._masks(self._pixels(image)) for image in images]
        counts = tuple(len(scores) for _, scores in found)
        grid = images.shape[-2] // STRIDE, images.shape[-1] // STRIDE
        logits = images.new_full((len(counts), max(counts), *grid), -LOGIT)
        quality = images.new_zeros(len(counts), max(counts))
        for index, (masks, scores) in enumerate(found):
            logits[index, : counts[index]] = masks
            quality[index, : counts[index]] = scores
        return MaskProposals(logits=logits, scores=quality, counts=counts)

    def load_weights(self, path: Path) -> None:
        """Fill from an official file.

        Raises:
            WeightsError: the file is damaged, no SAM, or a SAM of another size.
        """
        load_sam(self, self.size, path)

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Encode pictures with products in another number format; prompts and masks stay in float32."""
        set_matmul_dtype(self.image_encoder, dtype)

    def _masks(self, image: Image) -> tuple[Float[Tensor, "q h w"], Float[Tensor, " q"]]:
        """Logits at the stride and predicted IoUs of one picture's masks."""
        records = self._generator().generate(image)
        records.sort(key=lambda record: -record["predicted_iou"])
        height, width = image.shape[0] // STRIDE, image.shape[1] // STRIDE
        logits = torch.empty(len(records), height, width)
        for index, record in enumerate(records):
            cells = rle_to_mask(record["segmentation"]).reshape(height, STRIDE, width, STRIDE)
            logits[index] = torch.from_numpy(LOGIT * (2 * cells.mean((1, 3)) - 1))
        scores = torch.tensor([record["predicted_iou"] for record in records]).reshape(-1)
        return logits, scores.clamp(0.0, 1.0)

    def _generator(self) -> SamAutomaticMaskGenerator:
        """The package's generator around these modules; it keeps state, so each picture has its own."""
        sam = Sam(
            image_encoder=self.image_encoder,
            prompt_encoder=self.prompt_encoder,
            mask_decoder=self.mask_decoder,
            pixel_mean=list(PIXEL_MEAN),
            pixel_std=list(PIXEL_STD),
        ).to(self.prompt_encoder.no_mask_embed.weight.device)
        # Run lengths, because a mask of each picture's pixels would be a megabyte.
        made = SamAutomaticMaskGenerator(sam, output_mode="uncompressed_rle", **vars(self.settings))
        made.predictor = _Predictor(sam)
        return made

    def _pixels(self, image: Float[Tensor, "3 H W"]) -> Image:
        """The network input as a picture; its padding has the mean colour."""
        mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (self._mean, self._std))
        pixels: Image = (image * std + mean).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(pixels)


class _Predictor(SamPredictor):  # type: ignore[misc]  # the package has no types
    """The package's predictor with this project's encoder."""

    def set_image(self, image: Image, image_format: str = "RGB") -> None:
        """Encode a picture; it stays until the next one."""
        self.reset_image()
        encoder = self.model.image_encoder
        self.original_size = image.shape[:2]
        self.input_size = input_size(self.original_size, encoder.img_size)
        pixels = network_input(image, encoder.img_size, self.device)
        everything = encoder.img_size // PATCH
        self.features, _ = encode_pixels(encoder, pixels, (everything, everything))
        self.is_image_set = True


def sam_automatic(
    *,
    backbone: BackboneSpec,
    architecture: str = "vit_b",
    checkpoint: str | None = "sam_vit_b",
    points_per_side: int = 32,
    points_per_batch: int = 64,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    stability_score_offset: float = 1.0,
    box_nms_thresh: float = 0.7,
    crop_n_layers: int = 0,
    crop_nms_thresh: float = 0.7,
    crop_overlap_ratio: float = 512 / 1500,
    crop_n_points_downscale_factor: int = 1,
    min_mask_region_area: int = 0,
) -> SamAutomatic:
    """Segment Anything, prompted with a grid of points.

    Args:
        backbone: whose network input SAM looks at.
        architecture: ``vit_b``, ``vit_l``, ``vit_h``, ``toyworld_sam``, or the path of a JSON file (see
            `SamSize`).
        checkpoint: of that architecture, a name of ``ovseg ls weights`` or the path of a file; None if the
            weights come from elsewhere.
        points_per_side: points along each side of the picture; the cost grows with its square.
        points_per_batch: points that are answered together; memory grows with it, by some 12 bytes times
            the pixels of the network input for each.
        pred_iou_thresh: predicted IoU that a mask must exceed; 0 keeps all.
        stability_score_thresh: least IoU of a mask with itself, cut `stability_score_offset` logits higher
            and lower; 0 keeps all.
        stability_score_offset: see there.
        box_nms_thresh: IoU of boxes above which the worse of two masks is dropped.
        crop_n_layers: layers of ever smaller crops of the picture that are looked at too.
        crop_nms_thresh: as `box_nms_thresh`, between crops.
        crop_overlap_ratio: overlap of crops as a share of the picture's side.
        crop_n_points_downscale_factor: what `points_per_side` is divided by in each layer of crops.
        min_mask_region_area: pixels; smaller islands and holes of masks are removed; 0 leaves all.

    Raises:
        ConfigError: there is no such architecture, or a number is out of its range.
    """
    if points_per_side < 1 or points_per_batch < 1 or crop_n_points_downscale_factor < 1:
        raise ConfigError(
            f"sam_automatic: points_per_side={points_per_side}, points_per_batch={points_per_batch} and "
            f"crop_n_points_downscale_factor={crop_n_points_downscale_factor} must be at least 1."
        )
    size = sam_size(architecture)
    image_encoder, prompt_encoder, mask_decoder = build_parts(size)
    return SamAutomatic(
        image_encoder=image_encoder,
        prompt_encoder=prompt_encoder,
        mask_decoder=mask_decoder,
        size=size,
        backbone=backbone,
        settings=GridSettings(
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            min_mask_region_area=min_mask_region_area,
        ),
        weights_name=checkpoint,
    )
