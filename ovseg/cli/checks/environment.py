"""Python, the packages that ovseg needs, the processor, the GPU and the cache folder."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ovseg.cli.checks.finding import Finding, fault, note, ok
from ovseg.weights import zoo

_LITTLE_SPACE = 5 * 10**9
"""Free bytes in the cache folder below which a note says so; the larger checkpoints take gigabytes."""


def check_environment() -> Iterator[Finding]:
    """Findings on everything around ovseg."""
    yield _python()
    yield from _packages()
    yield from _torch()
    yield from _cache()


def _python() -> Finding:
    found, allowed = platform.python_version(), metadata("ovseg")["Requires-Python"]
    if SpecifierSet(allowed).contains(found, prereleases=True):
        return ok(f"Python {found} ({sys.executable})")
    return fault(f"Python {found} is not {allowed}.", "Make an environment with a newer Python.")


def _packages() -> Iterator[Finding]:
    """The installed version of each required package against what ovseg asks for."""
    good = []
    for line in requires("ovseg") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        asked = f"{requirement.name}{requirement.specifier}"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield fault(f"{requirement.name} is not installed.", f"pip install '{asked}'")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            good.append(f"{requirement.name} {found}")
        else:
            yield fault(
                f"{requirement.name} {found} is not {requirement.specifier}.", f"pip install '{asked}'"
            )
    yield ok(f"packages: {', '.join(good)}")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        yield fault(
            f"torch cannot be imported: {type(error).__name__}: {error}",
            "Install it again: https://pytorch.org/get-started",
        )
        return
    cores, threads = _cores(), torch.get_num_threads()
    yield ok(f"processor: {cores} cores, torch computes with {threads} threads")
    if threads > cores:
        yield note(
            "torch has more threads than cores, which is slow.",
            f"Set runtime.threads={cores} or OMP_NUM_THREADS={cores}.",
        )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield ok(f"GPU cuda:{index}: {card.name}, {card.total_memory / 10**9:.0f} GB")
    elif torch.backends.mps.is_available():
        yield ok("GPU: mps")
    else:
        yield note("There is no GPU that torch can use; runtime.device=auto means the processor.")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cache() -> Iterator[Finding]:
    """Whether the cache folder can be written and has room."""
    folder = zoo.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        yield fault(
            f"The cache folder {folder} cannot be written: {error}.", "Set OVSEG_CACHE to another folder."
        )
        return
    free = shutil.disk_usage(folder).free
    yield ok(f"cache folder {folder}: can be written, {free / 10**9:.1f} GB free")
    if free < _LITTLE_SPACE:
        yield note(
            "The larger checkpoints may not fit into the cache folder.",
            "Free some space, or set OVSEG_CACHE to a folder on another disk.",
        )
