"""The loop that toyworld's small trainings share: it saves, resumes, logs and keeps to a time.

A training is a function of the iteration's number: rate, pictures and seeds follow from it, so that a run
that was cut off goes on with the numbers that it would have had.
"""

import csv
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Step = Callable[[int], Mapping[str, float]]


def fit(
    step: Step,
    parts: Mapping[str, Any],
    *,
    iterations: int,
    folder: Path | str,
    save_seconds: float = 120,
    log_every: int = 20,
    minutes: float | None = None,
) -> int:
    """Train until `iterations` are done in all, or for some minutes; return how many are done in all.

    Args:
        step: one whole update; takes the iteration's number, gives values for the log.
        parts: what is saved, by name: models and optimisers, with ``state_dict`` and ``load_state_dict``.
        iterations: of the whole training, those of earlier calls included.
        folder: keeps ``checkpoint.pt`` (read at the start where it exists) and ``log.csv`` (means of what
            `step` gave, with the training's seconds so far).
        save_seconds: between two checkpoints.
        log_every: iterations to a row of the log.
        minutes: of this call; None for as long as it takes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done, seconds = _resume(folder / "checkpoint.pt", parts)
    log = _Log(folder / "log.csv", done)
    start = saved = time.monotonic()
    while done < iterations:
        log.add(step(done))
        done += 1
        now = time.monotonic()
        if done % log_every == 0 or done == iterations:
            log.write(done, seconds + now - start)
        stop = minutes is not None and now - start >= 60 * minutes
        if now - saved >= save_seconds or stop or done == iterations:
            _save(folder / "checkpoint.pt", parts, done, seconds + now - start)
            saved = now
        if stop:
            break
    return done


def cosine(iteration: int, iterations: int, *, peak: float, warmup: int, floor: float = 0.01) -> float:
    """The learning rate of an iteration: up in a line, down by half a cosine to `floor` times the peak."""
    if iteration < warmup:
        return peak * (iteration + 1) / warmup
    passed = min(1.0, (iteration - warmup) / max(1, iterations - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * passed)))


def _resume(path: Path, parts: Mapping[str, Any]) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for key, part in parts.items():
        part.load_state_dict(saved["parts"][key])
    return saved["iteration"], saved["seconds"]


def _save(path: Path, parts: Mapping[str, Any], done: int, seconds: float) -> None:
    states = {key: part.state_dict() for key, part in parts.items()}
    torch.save({"iteration": done, "seconds": seconds, "parts": states}, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


class _Log:
    """A table of means, one row every few iterations; rows after the resumed iteration are dropped."""

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        self._values: dict[str, list[float]] = defaultdict(list)
        self._columns: list[str] = []
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if int(row["iteration"]) <= done]
                self._columns = list(reader.fieldnames or ())
            self._rewrite(rows)

    def add(self, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._values[key].append(float(value))

    def write(self, iteration: int, seconds: float) -> None:
        means = {key: f"{sum(values) / len(values):.6g}" for key, values in self._values.items()}
        self._values.clear()
        row = {"iteration": str(iteration), "seconds": f"{seconds:.1f}", **means}
        new = [key for key in row if key not in self._columns]
        if new:
            rows = []
            if self._path.exists():
                with self._path.open(newline="") as file:
                    rows = list(csv.DictReader(file))
            self._columns += new
            self._rewrite(rows)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _rewrite(self, rows: Sequence[Mapping[str, str]]) -> None:
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
