"""SAM's masks of everything: a grid of points as prompts, the good answers without repeats.

Source: SAM (arXiv 2304.02643), section 5 and appendix B; `segment_anything/automatic_mask_generator.py`, which
runs here as it is, with this project's faster encoder.

Letters: b pictures, q masks, h w a grid at stride 4, H W the network input of the backbone.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.amg import rle_to_mask
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.types import BackboneSpec, Features, Image, ImageSpec, MaskPrompts, MaskProposals

STRIDE = 4
"""Pixels of the network input per position of a mask's logits, along each axis."""

LOGIT = 10.0
"""Logit of a position that a mask covers wholly; minus that where it does not reach, linear between."""
