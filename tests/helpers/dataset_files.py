"""Small data sets on disk, in the encodings of the originals."""

import json
from pathlib import Path

import numpy as np
import PIL.Image

SIZE = (6, 8)
"""(height, width) of the pictures."""


def put_picture(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    """A picture of noise; JPEG or PNG by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path


def put_map(path: Path, values: object, *, palette: bool = False) -> Path:
    """An index map: 8 bits, or 16 where the values are uint16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values)
    picture = PIL.Image.fromarray(array if array.dtype == np.uint16 else array.astype(np.uint8))
    if palette:
        picture = picture.convert("P")
        picture.frombytes(array.astype(np.uint8).tobytes())
        picture.putpalette([(7 * index) % 256 for index in range(768)])
    picture.save(path)
    return path


def put_ids(path: Path, ids: object) -> Path:
    """A panoptic map: R + 256 G + 256^2 B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(ids)
    channels = np.stack([array % 256, array // 256 % 256, array // 65536], axis=-1)
    PIL.Image.fromarray(channels.astype(np.uint8)).save(path)
    return path


def put_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Path below the folder -> content, of every file, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
