"""A file on disk to tensors, and tensors into a module, strictly.

Files are only ever read as data: `torch.load` runs with ``weights_only=True``, so a pickle cannot run code.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ovseg.errors import WeightsError
from ovseg.weights.mismatch import Mismatch, describe

_WRAPPERS = ("model", "state_dict")
"""Keys under which Detectron2 and open_clip's own training store the weights."""

# torch.save's format before zip archives: a pickle that starts with this number.
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LFS_MAGIC = b"version https://git-lfs"
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a ``.pth``, ``.pt``, ``.pkl`` (written by `torch.save`) or ``.safetensors`` file.

    The format is told from the content, not from the suffix. A ``{"model": ...}`` wrapper of Detectron2 is
    removed, and so is the ``module.`` that data-parallel training puts before every key. Tensors are mapped
    from the file where the format allows, so reading costs no memory until they are used.

    Raises:
        WeightsError: the file does not exist, is empty, truncated, a web page, a Git-LFS pointer or a
            TorchScript archive, holds anything but data, or holds no weights.
    """
    head = _head(path)
    if _is_safetensors(head):
        return _read_safetensors(path)
    if head.startswith(_ZIP_MAGIC):
        _refuse_torchscript(path)
        return _weights_of(_load(path, mmap=True), path)
    if head.startswith(_LEGACY_MAGIC):
        return _weights_of(_load(path, mmap=False), path)
    raise WeightsError(_not_a_checkpoint(path, head))


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


def _head(path: Path) -> bytes:
    """The first bytes of a file that exists and is not empty."""
    if not path.exists():
        raise WeightsError(
            f"There is no weights file {path}. Give an existing path, or a name of `ovseg ls weights`."
        )
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder. Give the weights file in it (.pth, .pt, .pkl or .safetensors)."
        )
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error
    if not head:
        raise WeightsError(
            f"{path} is empty (0 bytes), so its download or copy failed. Delete it and fetch it again."
        )
    return head


def _is_safetensors(head: bytes) -> bool:
    """Whether a file starts with the length of a JSON header and the header's brace."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 * 1024 * 1024


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return _weights_of(load_file(path), path)
    except SafetensorError as error:
        raise WeightsError(_damaged(path, str(error))) from error


def _refuse_torchscript(path: Path) -> None:
    """Tell a TorchScript archive by its table of constants, before torch warns and fails on it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(_damaged(path, str(error))) from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsError(
            f"{path} is a TorchScript archive, which holds a program and not only weights (OpenAI "
            "publishes CLIP so). Use the .safetensors file of the same weights: `ovseg ls weights` names "
            "it, `ovseg download` fetches it."
        )


def _load(path: Path, *, mmap: bool) -> object:
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(path, str(error))) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise WeightsError(_damaged(path, str(error))) from error
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


def _damaged(path: Path, reason: str) -> str:
    first_line = reason.strip().split("\n")[0]
    return (
        f"{path} ({path.stat().st_size:,} bytes) is damaged or was not fetched to its end: {first_line} "
        "Delete it and fetch it again."
    )


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


def _not_a_checkpoint(path: Path, head: bytes) -> str:
    """What a file is that is neither an archive nor a pickle of torch."""
    if head.lstrip().lower().startswith(_PAGE_STARTS):
        return (
            f"{path} is a web page, not weights: the server answered with a page (a login, a quota, a scan "
            "warning) and it was saved under this name. Open the link in a browser and save the file "
            "itself here."
        )
    if head.startswith(_LFS_MAGIC):
        return f"{path} is a Git-LFS pointer, not weights. Fetch the file it points to with `git lfs pull`."
    if head.startswith(_PICKLE_MAGIC):
        return (
            f"{path} is a plain pickle, which torch.save did not write (Detectron2's model zoo has such "
            "files). Reading it could run code, so it was not read. If you trust where it comes from, "
            'write its weights to a plain file once: python -c "import pathlib, pickle, torch; c = '
            f"pickle.loads(pathlib.Path('{path}').read_bytes()); torch.save({{k: torch.as_tensor(v) for k, "
            f"v in c.get('model', c).items()}}, '{path.stem}_plain.pth')\""
        )
    return (
        f"{path} is no checkpoint: it starts with {head[:8]!r}. Allowed are files of torch.save (.pth, "
        ".pt, .pkl) and .safetensors."
    )
