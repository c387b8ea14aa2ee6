"""Text embeddings that outlive a run: in memory, and in one file per (weights, templates).

A file holds a row per name, so vocabularies that share names share rows. It is rewritten as a whole: under a
lock, to a temporary file that then takes its place. So a reader sees the old file or the new one, two writers
keep each other's rows, and a crash leaves the old file.
"""

import hashlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor

SECONDS_FOR_THE_LOCK = 60.0

# The checksums of a zip file find any damage; which error says so depends on where it is.
DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, EOFError, RuntimeError)

Rows = dict[str, np.ndarray]


class TextCache:
    """Rows of text embeddings by weights, templates and name.

    Args:
        directory: where the files are kept, made when needed; None keeps the rows in memory only.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._known: dict[str, Rows] = {}

    def rows(
        self,
        names: Sequence[str],
        *,
        fingerprint: str,
        templates: Sequence[str],
        compute: Callable[[list[str]], Float[Tensor, "m e"]],
    ) -> Float[Tensor, "n e"]:
        """The row of each name, in float32 on the CPU.

        Args:
            names: may repeat.
            fingerprint: of everything but templates and names that the rows depend on.
            templates: that the rows are averaged over.
            compute: called once, with those of the names that are not known yet, each once.
        """
        key = json.dumps([fingerprint, *templates])
        known = self._known.setdefault(key, {})
        if self._directory is not None and _missing(names, known):
            known.update(_read(self._path(self._directory, key), key))
        missing = _missing(names, known)
        if missing:
            computed = compute(missing).float().cpu().numpy()
            new = dict(zip(missing, computed, strict=True))
            known.update(new)
            if self._directory is not None:
                _add(self._path(self._directory, key), key, new)
        return torch.from_numpy(np.stack([known[name] for name in names]))

    @staticmethod
    def _path(directory: Path, key: str) -> Path:
        return directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def _missing(names: Sequence[str], known: Mapping[str, object]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in known]


def _read(path: Path, key: str) -> Rows:
    """The rows of a file; none, with a warning, if it is damaged."""
    try:
        return _unpack(path.read_bytes(), key)
    except FileNotFoundError:
        return {}
    except OSError as error:
        warnings.warn(
            f"Cannot read the text embeddings in {path}: {error.strerror}. They are computed again.",
            stacklevel=4,
        )
    except DAMAGE as error:
        warnings.warn(
            f"The text embeddings in {path} are damaged ({error}). They are computed again and the file is "
            "replaced.",
            stacklevel=4,
        )
    return {}


def _add(path: Path, key: str, new: Rows) -> None:
    """Add rows to a file; only warns if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=SECONDS_FOR_THE_LOCK):
            with warnings.catch_warnings():
                # Damage was warned of when the rows were looked for.
                warnings.simplefilter("ignore")
                rows = _read(path, key) | new
            _replace(path, _pack(rows, key))
    # filelock: NotImplementedError where the file system has no locks; its Timeout is an OSError.
    except (OSError, NotImplementedError) as error:
        warnings.warn(
            f"Cannot keep text embeddings in {path.parent}: {error}. They are computed again in the next "
            "run. Set OVSEG_CACHE to a folder that can be written to.",
            stacklevel=4,
        )


def _replace(path: Path, content: bytes) -> None:
    # One name is enough: the lock is held, and what a crash left behind is overwritten.
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _pack(rows: Rows, key: str) -> bytes:
    about = json.dumps({"key": key, "names": list(rows)}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(about, np.uint8), rows=np.stack(list(rows.values())))
    return buffer.getvalue()


def _unpack(content: bytes, key: str) -> Rows:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        rows = file["rows"]
    if about["key"] != key:
        raise ValueError("it is of other weights or templates")
    return dict(zip(about["names"], rows, strict=True))
