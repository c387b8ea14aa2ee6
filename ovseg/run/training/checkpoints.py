"""Checkpoints that survive being killed: whole or not there, the one before kept until the new one is safe.

checkpoints/last.pt        to go on from: what is trained, optimizer, scaler, random states, position
checkpoints/previous.pt    the one before it
model.pth                  the result in the method's official layout, which ``model.weights=`` reads
best.pth                   the same, of the best evaluation so far
"""

import io
import os
import pickle
import random
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ovseg.errors import OutputError
from ovseg.interfaces import Training
from ovseg.report.files import TEMPORARY, output_error
from ovseg.run.processes import Processes
from ovseg.run.training.engine import Engine

FOLDER, LAST, PREVIOUS = "checkpoints", "last.pt", "previous.pt"
MODEL, BEST = "model.pth", "best.pth"
FORMAT = 2


@dataclass(frozen=True)
class Standing:
    """Where a run stands, besides the engine.

    Attributes:
        iteration: how many are done.
        loader: state of the loader.
        log: state of the log.
        best: what the best evaluation was judged by, and its value; None before the first.
    """

    iteration: int
    loader: Mapping[str, Any]
    log: Mapping[str, Any]
    best: tuple[str, float] | None = None


def save_checkpoint(folder: Path, engine: Engine, standing: Standing) -> None:
    """Write `LAST`; every process must call this.

    Raises:
        OutputError: the disk is full, or the like; the earlier checkpoints are as they were.
    """
    states = _gathered(_random_states(engine.device), engine.processes)
    content = {
        "format": FORMAT,
        "iteration": standing.iteration,
        "processes": engine.processes.count,
        "trained": _trained(engine.module),
        "frozen": _frozen_checksum(engine.module),
        "optimizer": engine.optimizer.state_dict(),
        "scaler": engine.scaler.state_dict(),
        "random": states,
        "loader": dict(standing.loader),
        "log": dict(standing.log),
        "best": standing.best,
    }
    engine.processes.first(lambda: _put(folder / FOLDER, content))


def load_checkpoint(folder: Path, engine: Engine) -> Standing | None:
    """Go back to where `LAST` was written; None if nothing was.

    Raises:
        OutputError: the file is damaged, was written by another number of processes, or the frozen weights
            are others than when the run began.
    """
    path = latest(folder)
    if path is None:
        return None
    content = _read(path)
    count = engine.processes.count
    if content["processes"] != count:
        written = content["processes"]
        how = f"torchrun --nproc-per-node {written} -m ovseg train ..." if written > 1 else "ovseg train ..."
        raise OutputError(
            f"{path} was written by {written} processes, this run has {count}: their random states would be "
            f"others. Start it as before ({how}), or begin a new run with output=DIR."
        )
    if content["frozen"] != _frozen_checksum(engine.module):
        raise OutputError(
            f"{path} was trained on top of other frozen weights than those that model.weights and the "
            "backbone now name. Give the same ones, or begin a new run with output=DIR."
        )
    tensors = engine.module.state_dict()
    with torch.no_grad():
        for name, tensor in content["trained"].items():
            tensors[name].copy_(tensor)
    engine.optimizer.load_state_dict(content["optimizer"])
    engine.scaler.load_state_dict(content["scaler"])
    _set_random_states(content["random"][engine.processes.rank], engine.device)
    best = content["best"]
    return Standing(content["iteration"], content["loader"], content["log"], best and tuple(best))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a run; None if there is none.

    Between the two moves of `_put` there is no `LAST`; a run killed just then has `PREVIOUS`.
    """
    found = (folder / FOLDER / name for name in (LAST, PREVIOUS))
    return next((path for path in found if path.exists()), None)


def export(path: Path, training: Training, *, iteration: int, with_frozen: bool) -> None:
    """Write the weights in the method's official layout, with what is known about the training.

    Raises:
        OutputError: it cannot be written.
    """
    content = {
        "model": training.checkpoint_state(with_frozen=with_frozen),
        "ovseg": training.metadata(),
        "iteration": iteration,
    }
    write_durably(path, _serialised(content))


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Put a file in its place in one step, after its bytes have reached the disk.

    Raises:
        OutputError: it cannot be written; a file that was there stays.
    """
    temporary = path.with_name(TEMPORARY.format(os.getpid()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _put(folder: Path, content: Mapping[str, Any]) -> None:
    new, last = folder / f"{LAST}.new", folder / LAST
    write_durably(new, _serialised(content))
    try:
        if last.exists():
            os.replace(last, folder / PREVIOUS)
        os.replace(new, last)
    except OSError as error:
        raise output_error(last, error) from error


def _serialised(content: Mapping[str, Any]) -> memoryview:
    # Into memory first: a full disk is then an OSError of one write, not an error inside torch's writer.
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getbuffer()


def _read(path: Path) -> dict[str, Any]:
    try:
        if not zipfile.is_zipfile(path):  # what torch reads of other files, it reads as pickles
            raise OutputError(_damaged(path, "it is cut off, or something else"))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise OutputError(_damaged(path, str(error).partition("\n")[0])) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise OutputError(_damaged(path, "it is no checkpoint of this version of ovseg train"))
    return cast(dict[str, Any], content)


def _damaged(path: Path, reason: str) -> str:
    other = path.with_name(PREVIOUS)
    older = f" Remove it to go on from {other}, or begin" if path != other and other.exists() else " Begin"
    return f"{path} cannot be read: {reason}.{older} afresh with resume=false."


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters with gradients, and buffers."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def _frozen_checksum(module: nn.Module) -> int:
    """Of the parameters without gradients, which are not in a checkpoint."""
    checksum = 0
    for _, parameter in sorted(module.named_parameters()):
        if not parameter.requires_grad:
            raw = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
            checksum = zlib.crc32(raw.numpy().data, checksum)
    return checksum


def _random_states(device: torch.device) -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (the state of libraries that use it)
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _gathered(states: dict[str, Any], processes: Processes) -> list[dict[str, Any]]:
    if processes.count == 1:
        return [states]
    found: list[Any] = [None] * processes.count
    dist.all_gather_object(found, states)
    return found
