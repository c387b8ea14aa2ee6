"""Write toyworld's two class lists from its words: all classes of the vocabulary, and those seen in training.

Run it after a change of `ovseg.data.toyworld.words`; a test holds the lists to the words.
"""

import json
from pathlib import Path

from ovseg.data.toyworld.words import UNSEEN_STUFF, UNSEEN_THINGS, toyworld_vocabulary
from ovseg.report.colors import palette
from ovseg.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "ovseg" / "vocabulary" / "lists"


def main() -> None:
    """Write both files."""
    vocabulary = toyworld_vocabulary()
    unseen = {*UNSEEN_THINGS, *UNSEEN_STUFF}
    rows = class_rows(vocabulary)
    seen = [row for row in rows if row["plain"][0] not in unseen]
    note = "The classes of the split train: no mask of another class is ever trained on."
    write("toyworld", "toyworld, all classes", rows, [])
    write("toyworld_seen", "toyworld, the classes that segmenters train on", seen, [note])


def class_rows(vocabulary: Vocabulary) -> list[dict[str, object]]:
    """The classes in the form of the lists; a class has the same id and colour in both."""
    colors = palette(len(vocabulary)).tolist()
    return [
        {"id": number, "thing": entry.is_thing, "color": color, "plain": list(entry.names)}
        for number, (entry, color) in enumerate(zip(vocabulary.classes, colors, strict=True), start=1)
    ]


def write(name: str, title: str, rows: list[dict[str, object]], notes: list[str]) -> None:
    """One file, a class on each line."""
    head = {
        "name": name,
        "title": title,
        "ignore_label": None,
        "default_names": "plain",
        "sources": ["ovseg.data.toyworld.words"],
        "licence": "Apache-2.0, as ovseg itself.",
        "notes": notes,
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    classes = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    text = "{\n" + ",\n".join(lines) + ',\n "classes": [\n' + classes + "\n ]\n}\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
