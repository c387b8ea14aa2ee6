"""The courses of toyworld's trainings, from their ``log.csv`` files to one figure.

python benchmarks/toyworld/curves.py        # needs matplotlib; writes benchmarks/toyworld/curves.svg
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

RUNS = Path("runs/toyworld")
PANELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "clip_convnext": (
        "CLIP ConvNeXt",
        {"seen": "things, seen", "unseen": "things, unseen", "stuff": "stuff"},
    ),
    "clip_vit": ("CLIP ViT/16", {"seen": "things, seen", "unseen": "things, unseen", "stuff": "stuff"}),
    "dino": ("DINO", {}),
    "sam": ("SAM", {"val_box": "box", "val_point": "one point", "val_coarse": "coarse map"}),
    "fcclip": ("FC-CLIP's decoders", {"loss": "sum of the losses"}),
}
"""Run -> its title and the columns that are drawn, with their names; none: those that end in ``auc``."""


def series(rows: Sequence[Mapping[str, str]], column: str) -> tuple[list[float], list[float]]:
    """Iterations and values of a column where it has any."""
    found = [(float(row["iteration"]), float(row[column])) for row in rows if row.get(column)]
    return [place for place, _ in found], [value for _, value in found]


def main() -> None:
    """Draw a panel per training."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(3.2 * len(PANELS), 2.6))
    for axis, (name, (title, columns)) in zip(axes, PANELS.items(), strict=True):
        with (RUNS / name / "log.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        wanted = columns or {column: column for column in rows[0] if column.endswith("auc")}
        for column, label in wanted.items():
            axis.plot(*series(rows, column), label=label)
        axis.set(title=title, xlabel="iteration")
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("curves.svg"))


if __name__ == "__main__":
    main()
