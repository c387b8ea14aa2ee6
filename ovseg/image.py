"""A picture at the border of every method, and the views of it that may be asked for. Needs no torch."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8

Task = Literal["semantic", "panoptic", "instance"]
TASKS: tuple[Task, ...] = ("semantic", "panoptic", "instance")

Image = UInt8[np.ndarray, "_ _ 3"]
"""A picture at the border of every method: RGB, 0..255, rows first."""
