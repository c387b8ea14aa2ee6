"""The papers' ablations in small: every row is a run of ``ovseg evaluate`` on toyworld, the rest is a table.

    python benchmarks/toyworld/ablations.py                   # the runs that are not there yet, then tables
    python benchmarks/toyworld/ablations.py --only trident    # some of the groups
    python benchmarks/toyworld/ablations.py --processes 2     # beside each other

Runs are kept in ``runs/toyworld/ablations/<group>/<row>``, the tables in ``tables.md`` beside the groups.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

FOLDER = Path("runs/toyworld/ablations")
SEMANTIC = {"mIoU": "mean_iou:mIoU", "seen": "mean_iou:mIoU/seen", "unseen": "mean_iou:mIoU/unseen"}
PANOPTIC = {
    "PQ": "panoptic_quality:PQ",
    "seen": "panoptic_quality:PQ/seen",
    "unseen": "panoptic_quality:PQ/unseen",
    "harmonic": "panoptic_quality:PQ/harmonic",
}


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        title: what it is, for people.
        words: what ``ovseg evaluate`` is told.
    """

    title: str
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower()).strip("-")


@dataclass(frozen=True)
class Group:
    """Settings that are compared with each other.

    Attributes:
        title: of the table.
        columns: heading -> ``evaluator:metric`` in ``metrics.json``.
        rows: from top to bottom.
        tasks: views that the runs are asked for.
    """

    title: str
    columns: Mapping[str, str]
    rows: tuple[Row, ...]
    tasks: str = "[semantic,panoptic,instance]"


def _ensemble(alpha: float, beta: float) -> tuple[str, ...]:
    return ("model=fcclip_toyworld", f"model.classifier.alpha={alpha}", f"model.classifier.beta={beta}")


_TRIDENT = ("model=trident_toyworld",)
GROUPS: Mapping[str, Group] = {
    "fcclip": Group(
        "FC-CLIP: which classifier names the masks",
        PANOPTIC,
        (
            Row("in-vocabulary classifier only", _ensemble(0.0, 0.0)),
            Row("out-of-vocabulary classifier only", _ensemble(1.0, 1.0)),
            *(
                Row(f"ensemble, alpha {alpha}, beta {beta}", _ensemble(alpha, beta))
                for alpha, beta in product((0.2, 0.4, 0.6, 0.7), (0.8, 0.9, 1.0))
            ),
        ),
    ),
    "trident": Group(
        "Trident: parts removed",
        SEMANTIC,
        (
            Row("Trident", _TRIDENT),
            Row("without refinement", ("model=trident_coarse_toyworld",)),
            Row("without SAM (ProxyCLIP)", ("model=proxyclip_toyworld",)),
            Row(
                "without DINO: CLIP's own last block",
                (*_TRIDENT, "model/backbone/last_block=self_attention"),
            ),
            Row(
                "without DINO: values alone",
                (
                    *_TRIDENT,
                    "model/backbone/last_block=value",
                    "model.backbone.last_block.residual=false",
                    "model.backbone.last_block.feed_forward=false",
                ),
            ),
            Row("NACLIP", ("model=naclip_toyworld",)),
            Row("SCLIP", ("model=sclip_toyworld",)),
            Row("MaskCLIP", ("model=maskclip_toyworld",)),
            Row("plain CLIP", ("model=clip_dense_toyworld",)),
        ),
        tasks="[semantic]",
    ),
    "masks": Group(
        "Whose masks the convolutional CLIP names",
        PANOPTIC,
        (
            Row("FC-CLIP's decoders, both classifiers", ("model=fcclip_toyworld",)),
            Row("FC-CLIP's decoders, frozen CLIP alone", _ensemble(1.0, 1.0)),
            Row("SAM's automatic masks, frozen CLIP", ("model=sam_convclip_toyworld",)),
        ),
    ),
    "resolution": Group(
        "Input resolution",
        {**SEMANTIC, "PQ": "panoptic_quality:PQ"},
        (
            *(
                Row(f"FC-CLIP, short side {side}", ("model=fcclip_toyworld", f"model.short_side={side}"))
                for side in (256, 384, 512, 640)
            ),
            *(
                Row(f"Trident, short side {side}", (*_TRIDENT, f"model.short_side={side}"))
                for side in (256, 384, 512)
            ),
        ),
        tasks="[semantic,panoptic]",
    ),
}


def run(group: str, row: Row, limit: int) -> Path:
    """Evaluate one setting on one core, unless a finished run is there; gives its folder."""
    folder = FOLDER / group / row.name
    words = [
        f"output={folder}",
        "dataset=toyworld",
        f"limit={limit}",
        f"tasks={GROUPS[group].tasks}",
        *row.words,
    ]
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        command = [sys.executable, "-m", "ovseg", "evaluate", *words]
        done = subprocess.run(
            command, stdout=stream, stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    if done.returncode:
        raise SystemExit(f"ovseg {' '.join(command[3:])} failed; {log} says why.")
    return folder


def table(group: Group, folders: Sequence[Path]) -> Iterator[str]:
    """Markdown: a row per setting, values with their intervals."""
    yield f"**{group.title}**\n"
    yield f"| | {' | '.join(group.columns)} | s/picture |"
    yield "|---" * (len(group.columns) + 2) + "|"
    for row, folder in zip(group.rows, folders, strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        cells = [_cell(metrics["scores"], where) for where in group.columns.values()]
        yield f"| {row.title} | {' | '.join(cells)} | {metrics['time']['seconds_per_picture']:.2f} |"
    yield ""


def _cell(scores: Mapping[str, Mapping[str, Mapping[str, object]]], where: str) -> str:
    evaluator, _, metric = where.partition(":")
    value, interval = scores[evaluator]["values"][metric], scores[evaluator]["intervals"].get(metric)
    if not isinstance(interval, list):
        return f"{value:.1f}"
    return f"{value:.1f} ({interval[0]:.1f} to {interval[1]:.1f})"


def main() -> None:
    """Make what is lacking, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--limit", type=int, default=200, help="pictures of the split val")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    jobs = [(group, row) for group in asked.only for row in GROUPS[group].rows]
    with ThreadPoolExecutor(asked.processes) as pool:
        folders = list(pool.map(lambda job: run(*job, asked.limit), jobs))
    lines = []
    for group in asked.only:
        mine = [folder for (name, _), folder in zip(jobs, folders, strict=True) if name == group]
        lines += table(GROUPS[group], mine)
    text = "\n".join(lines)
    (FOLDER / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
