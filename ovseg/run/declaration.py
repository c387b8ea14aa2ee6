"""What is declared with numbers: data, words, rules, method, weights, versions. Plain JSON values."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from ovseg.dataset import Dataset
from ovseg.interfaces import Method, Pretrained
from ovseg.registry import EVALUATORS
from ovseg.vocabulary import Vocabulary
from ovseg.weights.fetch import fetch

Json = dict[str, Any]

_GIT_PATIENCE = 30
"""Seconds."""

RULES: Mapping[str, str] = {
    "panoptic_quality": (
        "panopticapi: a match has IoU above 0.5 and the same class; void pixels are taken out of the union, "
        "predicted segments more than half on void or on a crowd of their class are ignored; means over "
        "classes with a true or predicted segment"
    ),
    "average_precision": (
        "pycocotools COCOeval, segm: at most 100 detections per class and picture, IoU 0.50:0.05:0.95, "
        "crowds are ignored; means over classes with a true instance"
    ),
    "cityscapes_ap": (
        "cityscapesScripts, instance level: IoU 0.50:0.05:0.95, at least 100 pixels, detections mostly on "
        "void are ignored; means over classes with a true instance"
    ),
    "mean_iou": (
        "pixels over the whole data set, those without truth left out; mIoU is the mean over classes that "
        "are true somewhere (detectron2 since July 2022), mIoU/mmseg over those true or predicted somewhere"
    ),
}
"""Registered evaluator -> its rules in one sentence; others are described by their first line."""

SIZE_KEYS = (
    "short_side",
    "long_side",
    "size_divisor",
    "window",
    "stride",
    "halves",
    "semantic_resize",
    "coarse_threshold",
)
"""Arguments of methods that say how pictures are resized before and scores after the network."""

DRAWN_KEYS = ("size",)
"""Arguments of data sets, beside the split, that make other pictures of the same names."""

PACKAGES = (
    "ovseg",
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "segment-anything",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "pycocotools",
    "torchmetrics",
)


def protocol(
    dataset: Dataset,
    node: Mapping[str, Any],
    *,
    keys: Sequence[str],
    said: Vocabulary,
    names: str | None,
    templates: Sequence[str],
    evaluators: Mapping[str, Mapping[str, Any]],
    tasks: Sequence[str],
) -> Json:
    """What the numbers are of, whatever the method.

    Args:
        dataset: that is evaluated.
        node: its config.
        keys: of the pictures that are evaluated.
        said: the classes as the method is told them.
        names: the variant of the built-in list; None if it is none.
        templates: the prompts around them.
        evaluators: name -> node.
        tasks: views that the method is asked for.
    """
    return {
        "dataset": {
            "name": node["name"],
            "split": node.get("split"),
            **{key: node[key] for key in DRAWN_KEYS if key in node},
            "pictures": len(keys),
            "keys_sha256": _digest(list(keys)),
        },
        "vocabulary": {
            "name": said.name,
            "names": names,
            "templates_sha256": _digest(list(templates)),
            "classes": len(said),
            "sha256": said.digest,
        },
        "evaluators": {
            name: {
                **{key: value for key, value in node.items() if key != "name"},
                "rules": _rules(node["name"]),
            }
            for name, node in evaluators.items()
        },
        "tasks": list(tasks),
    }


def method(
    node: Mapping[str, Any], *, name: str, recipe: str | None, weights: Json, precision: str, seed: int
) -> Json:
    """Which method with which settings; `weights` as `weights_of` gives them."""
    sizes = [f"{key}={json.dumps(node[key])}" for key in SIZE_KEYS if key in node]
    return {
        "name": name,
        "node": dict(node),
        "recipe": recipe,
        "weights": weights,
        "precision": precision,
        "seed": seed,
        "resize": ", ".join(sizes) or "as the method does without being told",
    }


def weights_of(built: Method, name: str | None) -> Json:
    """The files that a loaded method was filled from, with their digests.

    Args:
        built: the method.
        name: what the config says of its weights.
    """
    wanted: list[str] = []
    if name == "parts":
        parts = built.named_modules() if isinstance(built, torch.nn.Module) else ()
        wanted = [
            part.weights_name
            for path, part in parts
            if path and isinstance(part, Pretrained) and part.weights_name is not None
        ]
    elif name not in (None, "random"):
        wanted = [str(name), *getattr(built, "completed_from", ())]
    digests = {one: _file_digest(fetch(one)) for one in dict.fromkeys(wanted)}
    total = next(iter(digests.values())) if len(digests) == 1 else _digest(digests) if digests else None
    return {"name": name, "sha256": total, "files": digests}


def environment() -> Json:
    """Versions of what computes."""
    return {
        "git": _git(),
        "python": platform.python_version(),
        **{package.replace("-", "_"): _version(package) for package in PACKAGES},
    }


def processor() -> str:
    """What this machine calls its CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _rules(name: str) -> str:
    return RULES.get(name) or (EVALUATORS.get(name).__doc__ or "").strip().partition("\n")[0]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> Json | None:
    """The commit of the checkout that this runs from, None if it is installed otherwise."""
    package = Path(str(files("ovseg")))
    if not (package.parent / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(package.parent), *words],
                capture_output=True,
                text=True,
                check=True,
                timeout=_GIT_PATIENCE,
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def peak_gb(device: str) -> float:
    """Most memory that was in use so far, in GB: of the GPU, or of this process where there is none."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        return 0.0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e9 if sys.platform == "darwin" else used * 1024 / 1e9
