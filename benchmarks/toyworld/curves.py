"""The courses of toyworld's trainings, from their ``log.csv`` files to one figure.

python benchmarks/toyworld/curves.py        # needs matplotlib; writes benchmarks/toyworld/curves.svg
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

RUNS = Path("runs/toyworld")
PANELS: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "CLIP ConvNeXt": (
        ["clip_convnext"],
        {"seen": "things, seen", "unseen": "things, unseen", "stuff": "stuff"},
    ),
    "CLIP ViT/16": (["clip_vit"], {"seen": "things, seen", "unseen": "things, unseen", "stuff": "stuff"}),
    "DINO": (["dino"], {}),
    "SAM": (["sam"], {"val_box": "box", "val_point": "one point", "val_coarse": "coarse map"}),
    "FC-CLIP's decoders": (["fcclip", "fcclip_long"], {"loss": "sum of the losses"}),
}
"""Title -> runs, each going on from the one before, and the columns that are drawn, with their names; none:
those that end in ``auc``."""


def read_runs(names: Sequence[str]) -> list[Mapping[str, str]]:
    """The rows of all logs, with iterations counted on."""
    rows: list[Mapping[str, str]] = []
    for name in names:
        before = int(rows[-1]["iteration"]) if rows else 0
        with (RUNS / name / "log.csv").open() as stream:
            rows += [
                {**row, "iteration": str(before + int(row["iteration"]))} for row in csv.DictReader(stream)
            ]
    return rows


def series(rows: Sequence[Mapping[str, str]], column: str) -> tuple[list[float], list[float]]:
    """Iterations and values of a column where it has any."""
    found = [(float(row["iteration"]), float(row[column])) for row in rows if row.get(column)]
    return [place for place, _ in found], [value for _, value in found]


def main() -> None:
    """Draw a panel per training."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(3.2 * len(PANELS), 2.6))
    for axis, (title, (runs, columns)) in zip(axes, PANELS.items(), strict=True):
        rows = read_runs(runs)
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
