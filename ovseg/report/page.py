"""A comparison as one HTML file that needs nothing else: no network, no other file.

The template, the style and the script lie in ``page_files``. What comes from data is text: Jinja escapes it,
and the script gets it as JSON, which it only ever puts into text nodes.
"""

import base64
import json
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ovseg.report.comparison import Column, Comparison, interval_text, number, signed
from ovseg.report.gallery import Gallery
from ovseg.report.table_formats import explanation, memory_text, seconds_text, value_text


def page(comparison: Comparison, gallery: Gallery, digits: int) -> str:
    """Render.

    Args:
        comparison: the numbers.
        gallery: the pictures.
        digits: behind the point, of numbers in 0..100.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    names = [row.name for row in comparison.methods]
    training = [column for column in comparison.headlines if _by_training(column)]
    cells = [cell for row in comparison.methods for cell in row.cells.values()]
    return environment.from_string(_file("page.html")).render(
        title=f"{comparison.dataset}: {', '.join(names)}",
        css=Markup(_file("page.css")),
        js=Markup(_file("page.js")),
        data=script_json(_data(comparison, gallery, digits)),
        comparison=comparison,
        main_columns=[column for column in comparison.headlines if not _by_training(column)],
        training_columns=training,
        training_rows=[
            row for row in comparison.methods if any(column.title in row.cells for column in training)
        ],
        gallery=gallery,
        columns=_columns(gallery),
        notes=comparison.notes,
        positions={name: index for index, name in enumerate(names)},
        explanation=explanation(comparison),
        has_clear=any(cell.difference is not None and cell.difference.is_clear for cell in cells),
        value_text=lambda cell: value_text(cell, digits),
        number=lambda value: number(value, digits),
        signed=lambda value: signed(value, digits),
        interval=lambda interval: interval_text(interval, digits),
        seconds=seconds_text,
        memory=memory_text,
        uri=lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
        version=version("ovseg"),
    )


def _columns(gallery: Gallery) -> int:
    """Panels beside each other on a wide screen: all up to five, else two rows."""
    panels = 2 + len(gallery.shots[0].methods) if gallery.shots else 0
    return panels if panels <= 5 else min(5, -(-panels // 2))


def _by_training(column: Column) -> bool:
    return column.metric.endswith(("/seen", "/unseen"))


def script_json(content: object) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _data(comparison: Comparison, gallery: Gallery, digits: int) -> dict[str, Any]:
    """What the script needs."""
    return {
        "digits": digits,
        "baseline": comparison.baseline,
        "methods": [row.name for row in comparison.methods],
        "classes": [
            {"name": entry.name, "is_thing": entry.is_thing, "is_seen": entry.is_seen}
            for entry in comparison.classes
        ],
        "colors": gallery.colors.tolist(),
        "per_class": {
            title: [row.per_class.get(title) for row in comparison.methods] for title in comparison.per_class
        },
        "shown": [panel.title for panel in gallery.shots[0].methods] if gallery.shots else [],
        "shots": [
            {
                "key": shot.key,
                "apart": shot.disagreement,
                "map": shot.map_size,
                "panels": [panel.runs for panel in (shot.truth, *shot.methods)],
                "scores": [panel.scores for panel in shot.methods],
            }
            for shot in gallery.shots
        ],
    }


def _file(file: str) -> str:
    return (files("ovseg.report") / "page_files" / file).read_text(encoding="utf-8")
