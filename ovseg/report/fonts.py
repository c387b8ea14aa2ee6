"""Text on pictures: in the font that Pillow brings along, or where that lacks a letter, in the system's."""

import unicodedata
from dataclasses import dataclass
from functools import cache

from PIL import ImageFont

_SMALLEST, _LARGEST = 13, 40

_ABSENT = "\uffff"  # no character: every font draws its "missing" box for it

# With many letters first. Pillow looks for them in the font folders of the system.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
    "arial.ttf",
)


@dataclass(frozen=True)
class Writing:
    """A text and a font that has all its letters; the width is in pixels."""

    text: str
    font: ImageFont.FreeTypeFont

    @property
    def width(self) -> float:
        return float(self.font.getlength(self.text))


def text_size(height: int, width: int) -> int:
    """Font size in pixels that reads well on a picture of this size."""
    return min(_LARGEST, max(_SMALLEST, int(0.028 * (height * width) ** 0.5 + 0.5)))


def write(text: str, size: int, max_width: float = float("inf")) -> Writing:
    """Choose the font for a text, and cut it with an ellipsis where it is wider than `max_width` pixels.

    If no font of the system has all letters, accents are left out and what remains missing becomes "?".
    """
    name = next((name for name in (None, *_SYSTEM_FONTS) if _covers(name, text)), None)
    if not _covers(name, text):
        plain = unicodedata.normalize("NFKD", text)
        kept = (letter for letter in plain if not unicodedata.combining(letter))
        text = "".join(letter if _covers(None, letter) else "?" for letter in kept)
    writing = Writing(text, _load(name, size))
    while writing.width > max_width and text:
        text = text[:-1]
        writing = Writing(text.rstrip() + "…", writing.font)
    return writing


@cache
def _covers(name: str | None, text: str) -> bool:
    try:
        font = _load(name, 16)
    except OSError:
        return False
    missing = bytes(font.getmask(_ABSENT))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))


@cache
def _load(name: str | None, size: int) -> ImageFont.FreeTypeFont:
    """A font of the system, or for None Pillow's own."""
    font = ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # every Pillow wheel has FreeType
    return font
