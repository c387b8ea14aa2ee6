"""A comparison and a gallery of numbers and names given by a test."""

import numpy as np

from ovseg.report.comparison import (
    Cell,
    ClassFacts,
    Column,
    Comparison,
    Cost,
    Difference,
    MethodRow,
    Published,
)
from ovseg.report.gallery import Gallery, Shot, jpeg, run_lengths
from ovseg.report.gallery import Panel as GalleryPanel

TITLES = ("PQ", "AP", "PQ/seen")


def comparison(names=("first", "second"), classes=("cat", "dog"), notes=(), same_machine=True):
    """The first method is the baseline and has a published PQ; the others have no PQ/seen."""
    return Comparison(
        dataset="drawn (val)",
        protocol=(("Data set", "drawn (val)"), ("Panoptic quality", "rules & more")),
        baseline=names[0],
        common=7,
        resamples=50,
        columns=(
            *(Column(title, title, "panoptic_quality", True) for title in TITLES),
            Column("SQ/things", "SQ/things", "panoptic_quality", False),
        ),
        per_class=("PQ",),
        methods=tuple(_row(index, text, len(classes), notes) for index, text in enumerate(names)),
        classes=tuple(ClassFacts(text, index % 2 == 0, index % 3 == 0) for index, text in enumerate(classes)),
        notes=tuple(notes),
        same_machine=same_machine,
    )


def _row(index, text, class_count, notes):
    pq = 70.25 - 10.5 * index
    cells = {
        "PQ": Cell(
            pq,
            (pq - 2, pq + 2),
            None if index else Published(71.0, 'Table "1" & more'),
            Difference(-10.5 * index, (-12.0, -9.0)) if index else None,
            index == 0,
        ),
        "AP": Cell(40.0 + index, (39.0, 42.0), None, Difference(index * 1.0, (-1.0, 3.0)) if index else None),
        "SQ/things": Cell(1 / 3),
    }
    if not index:
        cells["PQ/seen"] = Cell(75.0, (70.0, 80.0))
    marks = tuple(note.mark for note in notes if note.mark) if index else ()
    per_class = {"PQ": [None if label == 1 else 10.0 * index + label for label in range(class_count)]}
    cost = Cost(0.123456, 2.5, "cpu", "a processor") if index else Cost(None, None, "cuda:0", "")
    return MethodRow(text, f"runs/{index}", marks, cells, per_class, cost, 7, index)


def gallery(names=("first", "second"), keys=("a", "b"), remarks=()):
    """Pictures of 4 x 6 pixels; the methods agree on nothing."""
    image = np.full((4, 6, 3), 128, np.uint8)

    def panel(title, label, scores):
        runs = run_lengths(np.full((4, 6), label))
        return GalleryPanel(title, jpeg(image), runs, scores)

    shots = tuple(
        Shot(
            key=key,
            size=(4, 6),
            map_size=(4, 6),
            jpeg=jpeg(image),
            truth=panel("truth", 0, {}),
            methods=tuple(panel(text, index % 2, {"PQ": 12.5}) for index, text in enumerate(names)),
            disagreement=0.5,
        )
        for key in keys
    )
    return Gallery(shots, 9, np.array([[1, 2, 3], [4, 5, 6]], np.uint8), tuple(remarks))
