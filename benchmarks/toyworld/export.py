"""A trained model to the small file that comes inside the package."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ovseg.weights.shipped import FOLDER


def export(state: Mapping[str, Tensor], name: str, folder: Path = FOLDER) -> Path:
    """Write the weights in fp16 as `name`.safetensors and return the path; they are renamed into place."""
    path = folder / f"{name}.safetensors"
    halves = {key: value.detach().cpu().to(torch.float16).contiguous() for key, value in state.items()}
    save_file(halves, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
    return path
