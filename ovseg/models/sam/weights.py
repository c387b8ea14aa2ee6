"""Official SAM checkpoints in: plain state dicts of the package's ``Sam``.

Source: the checkpoints of https://github.com/facebookresearch/segment-anything.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ovseg.errors import WeightsError
from ovseg.models.sam.architecture import SIZES, SamSize
from ovseg.weights.checkpoint import load_strict, read_state_dict

_POSITIONS = "image_encoder.pos_embed"
_BLOCK = "image_encoder.blocks."


def load_sam(module: nn.Module, size: SamSize, path: Path) -> None:
    """Fill a module whose parts are named as the official model's.

    Raises:
        WeightsError: the file is damaged, no SAM, or a SAM of another size; the message says of which.
    """
    state = read_state_dict(path)
    found = _size_of(state)
    if found is not None and found != (size.embed_dim, size.depth):
        raise WeightsError(_other_size(path, found, (size.embed_dim, size.depth)))
    load_strict(module, state, source=str(path))


def _size_of(state: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """(width, blocks) of the image encoder in a file; None if it holds none."""
    if _POSITIONS not in state:
        return None
    blocks = {key.removeprefix(_BLOCK).partition(".")[0] for key in state if key.startswith(_BLOCK)}
    return state[_POSITIONS].shape[-1], len(blocks)


def _other_size(path: Path, found: tuple[int, int], wanted: tuple[int, int]) -> str:
    names = {(size.embed_dim, size.depth): name for name, size in SIZES.items()}
    message = (
        f"{path} holds SAM {_described(found, names)}, but the model is SAM {_described(wanted, names)}."
    )
    if found in names:
        message += (
            f" For this file write model/mask_generator=sam_{names[found]} (architecture: {names[found]})."
        )
    if wanted in names:
        message += f" For this model write checkpoint=sam_{names[wanted]}, or the path of such a file."
    return message


def _described(size: tuple[int, int], names: Mapping[tuple[int, int], str]) -> str:
    width, blocks = size
    return f"{names.get(size, 'of no published size')} ({blocks} blocks of width {width})"
