"""The legend of an overlay: which colour is which class, and how much of the picture it takes."""

from collections import defaultdict
from dataclasses import dataclass

import PIL.Image
from PIL import ImageDraw

from ovseg.report.colors import class_colors
from ovseg.report.fonts import Writing, write
from ovseg.report.regions import RegionMap
from ovseg.vocabulary import Vocabulary

_BACKGROUND = (255, 255, 255)
_TEXT = (24, 24, 27)
_FAINT = (113, 113, 122)

_SCREEN = 1.6
"""Width by height of the screen on which picture and legend together should be as large as possible."""

_MAX_NAME = 14.0  # in font sizes: some 30 letters


@dataclass(frozen=True)
class Entry:
    """One line: a class, or without a color what has no class, and its share of the picture in 0..1."""

    text: str
    share: float
    color: tuple[int, int, int] | None


@dataclass(frozen=True)
class Layout:
    """Where the lines go; lengths in pixels.

    Attributes:
        columns, rows: of lines; filled column by column.
        cell: (width, height) of a line.
        origin: (x, y) of the first line on the canvas.
        canvas: (width, height) of picture and legend together.
    """

    columns: int
    rows: int
    cell: tuple[int, int]
    origin: tuple[int, int]
    canvas: tuple[int, int]


def legend_entries(regions: RegionMap, vocabulary: Vocabulary) -> list[Entry]:
    """One entry per class that has a pixel, the largest first, then what has no class, if anything."""
    total = max(1, regions.ids.size)
    areas: dict[int, int] = defaultdict(int)
    counts: dict[int, int] = defaultdict(int)
    for region in regions.regions:
        if region.area:
            areas[region.label] += region.area
            counts[region.label] += 1
    colors = class_colors(vocabulary)
    entries = []
    for label in sorted(areas, key=lambda label: (-areas[label], label)):
        entry, (red, green, blue) = vocabulary.classes[label], colors[label].tolist()
        many = regions.counted and entry.is_thing and counts[label] > 1
        text = f"{entry.name} ({counts[label]})" if many else entry.name
        entries.append(Entry(text, areas[label] / total, (red, green, blue)))
    rest = total - sum(areas.values())
    if rest:
        entries.append(Entry("(no class)", rest / total, None))
    return entries


def add_legend(
    picture: PIL.Image.Image, regions: RegionMap, vocabulary: Vocabulary, size: int
) -> PIL.Image.Image:
    """The picture and its legend, beside or below, whichever fills a screen better; `size` is the font's."""
    entries = legend_entries(regions, vocabulary)
    names = [write(entry.text, size, _MAX_NAME * size) for entry in entries]
    name_width = max(name.width for name in names)
    cell = (round(name_width + 6.2 * size), round(1.5 * size))
    layout = _layout(len(entries), cell, (picture.width, picture.height), margin=size)
    canvas = PIL.Image.new("RGB", layout.canvas, _BACKGROUND)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for index, (entry, name) in enumerate(zip(entries, names, strict=True)):
        column, row = divmod(index, layout.rows)
        place = (layout.origin[0] + column * cell[0], layout.origin[1] + row * cell[1])
        _draw_entry(draw, entry, name, place, name_width, size)
    return canvas


def _layout(count: int, cell: tuple[int, int], picture: tuple[int, int], margin: int) -> Layout:
    """Try every number of columns, beside and below, and keep what could be shown largest on a screen."""
    width, height = picture
    candidates = []
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        legend = (columns * cell[0] + margin, rows * cell[1] + 2 * margin)
        beside = (width + legend[0] + margin // 2, max(height, legend[1]))
        below = (max(width, legend[0] + margin), height + legend[1])
        candidates.append(Layout(columns, rows, cell, (width + margin, margin), beside))
        candidates.append(Layout(columns, rows, cell, (margin, height + margin), below))
    return min(
        candidates, key=lambda layout: (max(layout.canvas[0] / _SCREEN, layout.canvas[1]), layout.canvas)
    )


def _draw_entry(
    draw: ImageDraw.ImageDraw,
    entry: Entry,
    name: Writing,
    place: tuple[int, int],
    name_width: float,
    size: int,
) -> None:
    x, y = place
    middle = y + 0.75 * size
    swatch = (x, middle - 0.5 * size, x + 1.2 * size, middle + 0.5 * size)
    outline = None if entry.color else _FAINT
    draw.rounded_rectangle(swatch, radius=size // 4, fill=entry.color, outline=outline)
    baseline = y + 1.1 * size
    draw.text((x + 1.8 * size, baseline), name.text, _TEXT if entry.color else _FAINT, name.font, anchor="ls")
    end = x + 1.8 * size + name_width + 3.4 * size
    percent = write(_percent(entry.share), size)
    draw.text((end, baseline), percent.text, _FAINT, percent.font, anchor="rs")


def _percent(share: float) -> str:
    percent = 100 * share
    if percent >= 9.95:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"
