"""Tell what a weights file is from its bytes, and refuse what is none. Needs no torch, reads no weights."""

import json
import zipfile
from pathlib import Path
from typing import Literal

from ovseg.errors import WeightsError

Kind = Literal["safetensors", "zip", "legacy"]
"""``zip`` and ``legacy`` are the two formats of `torch.save`."""

# torch.save's format before zip archives: a pickle that starts with this number.
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LFS_MAGIC = b"version https://git-lfs"
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml")
_LONGEST_HEADER = 100 * 1024 * 1024


def kind_of(path: Path) -> Kind:
    """The format of a weights file, from its content and not from its suffix.

    Archives that were cut off are found here, by their table of contents. A cut ``legacy`` file is not.

    Raises:
        WeightsError: the file does not exist, is a folder, empty, cut off, a web page, a Git-LFS pointer, a
            TorchScript archive, a plain pickle or something else.
    """
    head = _head(path)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_HEADER:
        _check_safetensors(path)
        return "safetensors"
    if head.startswith(_ZIP_MAGIC):
        _check_zip(path)
        return "zip"
    if head.startswith(_LEGACY_MAGIC):
        return "legacy"
    raise WeightsError(_no_weights(path, head))


def is_web_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of HTML or XML."""
    return head.lstrip().lower().startswith(_PAGE_STARTS)


def damaged(path: Path, reason: str) -> WeightsError:
    """The error about a file whose content breaks off or contradicts itself."""
    first_line = reason.strip().split("\n")[0].rstrip(".")
    return WeightsError(
        f"{path} ({path.stat().st_size:,} bytes) is damaged or was not fetched to its end: {first_line}. "
        "Delete it and fetch it again."
    )


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


def _check_safetensors(path: Path) -> None:
    """Compare the size of the file with where the last tensor of its header ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
    try:
        tensors = [entry for key, entry in json.loads(header).items() if key != "__metadata__"]
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise damaged(path, "its header cannot be read") from error
    if end != size:
        raise damaged(path, f"its header speaks of {end:,} bytes")


def _check_zip(path: Path) -> None:
    """Read the table of contents, which stands at the end of an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise damaged(path, str(error)) from error
    # Only TorchScript stores a table of constants.
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsError(
            f"{path} is a TorchScript archive, which holds a program and not only weights (OpenAI "
            "publishes CLIP so). Use the .safetensors file of the same weights: `ovseg ls weights` names "
            "it, `ovseg download` fetches it."
        )


def _no_weights(path: Path, head: bytes) -> str:
    if is_web_page(head):
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
