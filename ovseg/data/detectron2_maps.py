"""Making detectron2's folders of pictures and label maps: ``images/*/``, ``annotations/*/``."""

import importlib
import io
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Int16

from ovseg.data.images import opened
from ovseg.data.label_maps import LONG
from ovseg.data.preparation import Made, Preparation
from ovseg.errors import ConfigError
from ovseg.truth import IGNORED


class Detectron2Maps(Preparation):
    """Pictures and label maps of one split, side by side.

    Args:
        what: what is made, for people.
        folder: that both folders go to.
        images, labels: the folders' names; splits are folders in them.
        split: ``val`` or ``train``.
        void: value of pixels without label: 255 makes PNGs of 8 bits, 65535 TIFFs of 16.
    """

    def __init__(
        self, *, what: str, folder: Path, images: str = "images", labels: str, split: str, void: int = 255
    ) -> None:
        super().__init__(name=f"{labels}-{split}", what=what, folder=folder)
        long = LONG.get(split, split)
        self._images, self._labels = f"{images}/{long}", f"{labels}/{long}"
        self._void = void

    @abstractmethod
    def pair(self, job: str) -> tuple[bytes, Int16[np.ndarray, "h w"]]:
        """The picture as a JPEG file, and its labels.

        Raises:
            DataError: one of them cannot be read.
        """

    def files(self, job: str) -> Sequence[str]:
        """See `Preparation`."""
        suffix = ".png" if self._void == 255 else ".tif"
        return f"{self._images}/{job}.jpg", f"{self._labels}/{job}{suffix}"

    def make(self, job: str) -> Made:
        """See `Preparation`."""
        picture, labels = self.pair(job)
        image_file, label_file = self.files(job)
        return Made({image_file: picture, label_file: encode_labels(labels, self._void)})


def picture_file(path: Path) -> bytes:
    """The content of a picture file, to be copied.

    Raises:
        DataError: it is not there or no picture.
    """
    with opened(path):
        return path.read_bytes()


def encode_labels(labels: Int16[np.ndarray, "h w"], void: int) -> bytes:
    """A label map as a file: 8-bit PNG if `void`, the value for `IGNORED`, is 255, else 16-bit TIFF."""
    file = io.BytesIO()
    values = np.where(labels == IGNORED, void, labels)
    if void == 255:
        PIL.Image.fromarray(values.astype(np.uint8)).save(file, "PNG")
    else:
        PIL.Image.fromarray(values.astype(np.uint16)).save(file, "TIFF", compression="tiff_lzw")
    return file.getvalue()


def needed(module: str, package: str, purpose: str) -> Any:  # noqa: ANN401
    """Import a module that only preparations need.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{purpose} needs the package '{package}', which cannot be imported ({error}). "
            "Type: pip install 'ovseg[prepare]'"
        ) from error
