"""What a config names: SAM as a mask generator."""

from typing import Literal

from ovseg.models.sam.architecture import build_parts, sam_size
from ovseg.models.sam.prompted import Sam


def sam(
    *,
    architecture: str = "vit_b",
    checkpoint: str | None = "sam_vit_b",
    mask_prompt: Literal["official", "batched"] = "official",
) -> Sam:
    """Segment Anything, prompted.

    Args:
        architecture: ``vit_b``, ``vit_l``, ``vit_h``, ``toyworld_sam``, or the path of a JSON file (see
            `SamSize`).
        checkpoint: of that architecture, a name of ``ovseg ls weights`` or the path of a file; None if the
            weights come from elsewhere.
        mask_prompt: how mask prompts are embedded. ``official`` is what Trident does: each without a batch
            dimension, so that SAM's norms take the mask's rows for their channels. ``batched`` is what SAM
            was trained with.

    Raises:
        ConfigError: there is no such architecture.
    """
    size = sam_size(architecture)
    image_encoder, prompt_encoder, mask_decoder = build_parts(size)
    return Sam(
        image_encoder=image_encoder,
        prompt_encoder=prompt_encoder,
        mask_decoder=mask_decoder,
        size=size,
        weights_name=checkpoint,
        mask_prompt=mask_prompt,
    )
