"""Picture files of any common kind to 8-bit RGB arrays, and one error class for all that can be wrong.

What becomes of each kind of pixel:
    8-bit RGB           as it is. Colour profiles are ignored.
    grey, 1 bit         the same value in all three channels
    palette             the palette's colours
    transparency        laid over white, as viewers do: alpha channel, transparent palette entry or colour key
    16 bits a channel   the high byte (value >> 8), which is the full range 0..65535 to 0..255
    CMYK                Pillow's conversion; CMYK JPEG files are taken to be inverted, as Adobe writes them
    32-bit, float       refused: nobody can know which range is meant
A rotation in the EXIF data is applied. Of several frames or pages the first is read.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageOps

from ovseg.errors import DataError
from ovseg.image import Image

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
"""What Pillow may read here; its other readers are left out because some of them run programs (EPS)."""

_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)
"""Values of the EXIF tag that swap height and width."""

_CONVERT = "Convert it to PNG or JPEG first."
# The first bytes of what people hand over by mistake, so that the error can name it.
_SIGNATURES = (
    (0, b"GIF8", f"a GIF picture. {_CONVERT}"),
    (0, b"%PDF", f"a PDF document. {_CONVERT}"),
    (0, b"8BPS", f"a Photoshop document. {_CONVERT}"),
    (4, b"ftypheic", f"an HEIC picture. {_CONVERT}"),
    (4, b"ftypmif1", f"an HEIF picture. {_CONVERT}"),
    (4, b"ftypavif", f"an AVIF picture. {_CONVERT}"),
    (4, b"ftyp", "a film. Extract its frames first, for example with ffmpeg."),
    (0, b"PK\x03\x04", "a ZIP archive. Unpack it first."),
    (0, b"\x1f\x8b", "a gzip archive. Unpack it first."),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the picture itself. Run 'git lfs pull' first."),
    (0, b"\x93NUMPY", "a numpy array. Load it and pass it from Python."),
)


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a JPEG, PNG, WebP, TIFF or BMP file as 8-bit RGB, upright.

    Raises:
        DataError: the file is missing, empty, no picture, damaged, too large or of a pixel kind that has no
            clear meaning; the text says which.
    """
    with opened(path) as picture:
        return _to_rgb(picture, str(path))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) in pixels of what `read_image` would give, from the head of the file.

    Raises:
        DataError: as `read_image`, as far as the head of the file shows it.
    """
    with opened(path) as picture:
        width, height = picture.size
        return (width, height) if picture.getexif().get(_ORIENTATION, 1) in _LYING else (height, width)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[PIL.Image.Image]:
    """A picture file as Pillow opens it; whatever fails inside becomes an error that says what to do.

    Raises:
        DataError: as `read_image`.
    """
    path = Path(path)
    _require_file(path)
    try:
        with PIL.Image.open(path, formats=FORMATS) as picture:
            yield picture
    except DataError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is too large to be opened safely: {error} Scale it down first.") from error
    except PIL.UnidentifiedImageError as error:
        raise DataError(f"{path} {_describe_content(path)}") from error
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory. Scale it down first.") from error
    # A damaged file makes Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DataError(
            f"{path} is damaged and cannot be decoded: {str(error) or type(error).__name__}. "
            "Copy or download it again, or open and save it in a picture editor."
        ) from error


def as_image(image: object) -> Image:
    """Whatever stands for a picture as 8-bit RGB.

    Args:
        image: a path, a `PIL.Image.Image` (treated as `read_image` treats a file), or a uint8 array of shape
            (h, w, 3) in RGB order or (h, w) in grey, which is not copied if it can be used as it is.

    Raises:
        DataError: none of these, or an array of another shape or number format.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if isinstance(image, PIL.Image.Image):
        return _to_rgb(image, "The picture")
    if isinstance(image, np.ndarray):
        return _check_array(image)
    raise DataError(
        f"Got a {type(image).__module__}.{type(image).__qualname__} as a picture. "
        "Pass a path, a PIL.Image.Image or a numpy array of uint8 with shape (height, width, 3); "
        "for a tensor of shape (3, height, width): tensor.permute(1, 2, 0).cpu().numpy()."
    )


def _require_file(path: Path) -> None:
    try:
        if not path.exists():
            broken_link = " (a link that leads nowhere)" if path.is_symlink() else ""
            raise DataError(f"{path} does not exist{broken_link}. Check the spelling and the current folder.")
        if not path.is_file():
            raise DataError(f"{path} is not a file. Name a picture file.")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes). Copy or download it again.")
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}. Check its permissions.") from error


def _to_rgb(picture: PIL.Image.Image, name: str) -> Image:
    picture = _upright(picture, name)
    mode = picture.mode
    if mode.startswith("I;16"):
        return _grey_to_rgb((np.asarray(picture) >> 8).astype(np.uint8))
    if mode == "I" and picture.format == "PNG":  # how Pillow before 11.3 reads 16-bit grey PNG files
        return _grey_to_rgb((np.asarray(picture) >> 8).astype(np.uint8))
    if mode in ("I", "F"):
        kind = "signed or 32-bit whole numbers" if mode == "I" else "floating-point numbers"
        raise DataError(
            f"{name} has {kind} as pixels, whose range nobody can know. "
            "Scale them to 0..255 and save the picture with 8 bits, or pass a uint8 array from Python."
        )
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))


def _upright(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    picture.load()
    kind = picture.format
    try:
        picture = ImageOps.exif_transpose(picture)
    except Exception as error:  # the pixels are good; only the note about the rotation is broken
        logger.warning("%s: its EXIF data is broken (%s), so a rotation in it is not applied.", name, error)
    picture.format = kind
    return picture


def _grey_to_rgb(grey: np.ndarray) -> Image:
    return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))


def _check_array(array: np.ndarray) -> Image:
    shape = "(" + ", ".join(map(str, array.shape)) + ")"
    if array.dtype != np.uint8:
        raise DataError(
            f"Got an array of {array.dtype} as a picture; it must be uint8 in 0..255. For values in 0..1: "
            "(array * 255).round().astype('uint8')."
        )
    if array.size == 0:
        raise DataError(f"Got an array of shape {shape} as a picture, which has no pixels.")
    if array.ndim == 2:
        return _grey_to_rgb(array)
    if array.ndim == 3 and array.shape[2] == 3:
        return array
    advice = "It must be (height, width, 3) in RGB order, or (height, width) in grey."
    if array.ndim == 3 and array.shape[2] == 4:
        advice += " For RGBA: array[..., :3]."
    elif array.ndim == 3 and array.shape[0] == 3:
        advice += " For channels first: array.transpose(1, 2, 0)."
    elif array.ndim == 4:
        advice += " Several pictures are passed as a list of arrays."
    raise DataError(f"Got an array of shape {shape} as a picture. {advice}")


def _describe_content(path: Path) -> str:
    """What a file that is no readable picture seems to be, as the rest of a sentence."""
    with path.open("rb") as file:
        start = file.read(512)
    for offset, signature, description in _SIGNATURES:
        if start[offset:].startswith(signature):
            return f"is {description}"
    lowered = start.lstrip().lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a picture: the download probably failed. Download it again."
    if start.strip(b"\x00") == b"":
        return "holds only zero bytes: the copy or download broke off. Copy or download it again."
    return (
        f"is not a picture that can be read (it begins with {start[:12]!r}). "
        f"Readable are {', '.join(FORMATS[:-1])} and {FORMATS[-1]}."
    )
