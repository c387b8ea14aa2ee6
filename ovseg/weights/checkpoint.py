"""A file on disk to tensors, and tensors into a module, strictly.

Files are only ever read as data: `torch.load` runs with ``weights_only=True``, so a pickle cannot run code.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ovseg.errors import WeightsError
from ovseg.weights.kind import damaged, kind_of
from ovseg.weights.mismatch import Mismatch, describe

_WRAPPERS = ("model", "state_dict", "teacher")
"""Keys under which Detectron2, open_clip's own training and DINO's store the weights."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a ``.pth``, ``.pt``, ``.pkl`` (written by `torch.save`) or ``.safetensors`` file.

    A ``{"model": ...}`` wrapper of Detectron2 is removed, and so is the ``module.`` that data-parallel
    training puts before every key. Tensors are mapped from the file where the format allows, so reading
    costs no memory until they are used.

    Raises:
        WeightsError: the file does not exist, is empty, truncated, a web page, a Git-LFS pointer or a
            TorchScript archive, holds anything but data, or holds no weights.
    """
    kind = kind_of(path)
    content = _read_safetensors(path) if kind == "safetensors" else _read_pickle(path, mmap=kind == "zip")
    return _weights_of(content, path)


def read_beside(path: Path, key: str) -> object | None:
    """What a file written by `torch.save` holds under a key beside its weights; None if nothing.

    Raises:
        WeightsError: as `read_state_dict`.
    """
    if kind_of(path) != "zip":  # what `torch.save` has written for years, and so all that we write
        return None
    content = _read_pickle(path, mmap=True)
    if not isinstance(content, Mapping) or not any(name in content for name in _WRAPPERS):
        return None
    value: object = content.get(key)
    return value


def load_strict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    may_lack: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> None:
    """Give a module the tensors of a file; every key must fit.

    The tensors become the module's own (a module on the ``meta`` device becomes a real one), in the module's
    number format: a file in fp16 or bf16 fills an fp32 module with fp32.

    Args:
        module: is filled; left as it was if anything does not fit.
        state: the keys and tensors of the file.
        source: what the file is, for the message.
        may_lack: shell patterns (``*``, ``?``) of the module's keys that the file may leave out. The keys of
            one pattern go together: all are there or none is, because half a part is a damaged file. Keys
            left out keep what they had, so on the ``meta`` device they must be filled from elsewhere.
        ignore: shell patterns of keys of the file that the module need not know.

    Raises:
        WeightsError: keys are missing, unknown or of another shape; the message names them, grouped.
    """
    expected = module.state_dict()
    found = {key: tensor for key, tensor in state.items() if key in expected or not _matches(key, ignore)}
    mismatch = Mismatch(
        missing=_missing(expected, found, may_lack),
        unknown=tuple(key for key in found if key not in expected),
        reshaped=tuple(
            (key, tuple(tensor.shape), tuple(expected[key].shape))
            for key, tensor in found.items()
            if key in expected and tensor.shape != expected[key].shape
        ),
    )
    if mismatch:
        raise WeightsError(
            describe(
                mismatch,
                expected=tuple(expected),
                found=tuple(found),
                source=source,
                model=type(module).__name__,
            )
        )
    converted = {key: tensor.to(expected[key].dtype) for key, tensor in found.items()}
    module.load_state_dict(converted, strict=False, assign=True)


def _missing(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], may_lack: Sequence[str]
) -> tuple[str, ...]:
    """The expected keys that are not found and belong to no pattern whose keys lack altogether."""
    lacking = [key for key in expected if key not in found]
    excused = [pattern for pattern in may_lack if not any(fnmatchcase(key, pattern) for key in found)]
    return tuple(key for key in lacking if not _matches(key, excused))


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise damaged(path, str(error)) from error


def _read_pickle(path: Path, *, mmap: bool) -> object:
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(path, str(error))) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise damaged(path, str(error)) from error
    return content


def _weights_of(content: object, path: Path) -> dict[str, Tensor]:
    """The dict of tensors in what a file holds."""
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not weights. A checkpoint is a dict of named "
            "tensors, or one under the key 'model'."
        )
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    state = content[wrapper] if wrapper else content
    others = [
        key for key, value in state.items() if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if not state or others:
        where = f"under '{wrapper}' " if wrapper else ""
        raise WeightsError(
            f"{path} holds more or other things than weights: {where}there is {_keys(others)}. A "
            "checkpoint is a dict of named tensors, or has one under the key 'model'."
        )
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return dict(state)


def _keys(keys: Sequence[object]) -> str:
    if not keys:
        return "nothing"
    return ", ".join(repr(key) for key in keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _refused(path: Path, reason: str) -> str:
    """Why a pickle was not read, and how to make a plain file of one that is trusted."""
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    what = f"it names '{named.group(1)}'" if named else "it is no pure weights file"
    return (
        f"{path} is a pickle with more than data in it: {what}. Reading it could run code, so it was not "
        "read. If you trust where it comes from, write its weights to a plain file once: python -c "
        f"\"import torch; c = torch.load('{path}', map_location='cpu', weights_only=False); "
        f"torch.save(c.get('model', c), '{path.stem}_plain.pth')\""
    )
