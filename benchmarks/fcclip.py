"""FC-CLIP from picture to masks, against the plain forward of its own image trunk.

The trunk's eager float32 forward is work that no implementation can leave out, and is the same for all of them, so
the ratio to it can be compared between machines. The official code's is 2.06.
"""

import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, TypeVar

import numpy as np
import torch

import machine
from golden.scene import scene
from helpers.tiny_fcclip import Golden
from ovseg.models.common.linear import chosen_backend
from ovseg.models.common.precision import bf16_gain, compute_dtype
from ovseg.models.common.preprocess import normalise_and_pad, resize_short_side
from ovseg.models.fcclip.method import FCCLIP
from ovseg.run.load import load_method
from ovseg.types import TASKS
from ovseg.vocabulary import load_vocabulary

T = TypeVar("T")


class PredictSpeed(TypedDict):
    """Medians over the repeats.

    Attributes:
        ratio: of `seconds` to `trunk_seconds`, taken pair by pair.
        seconds: of one picture, from pixels to all three outputs; text embeddings are in memory.
        trunk_seconds: timm's own eager forward of the trunk in float32 on the same padded input.
        stages: seconds per stage.
        peak_gb: during one prediction, text tower loaded.
        computed_in: the number format that the image tower really ran in.
        linear: the library of the float32 linear layers.
    """

    ratio: float
    seconds: float
    trunk_seconds: float
    stages: dict[str, float]
    peak_gb: float
    computed_in: str
    linear: str


def measure(
    *, precision: str, device: torch.device, height: int, width: int, repeats: int, vocabulary: str
) -> PredictSpeed:
    """Time one picture on random weights, in turns with the trunk alone."""
    picture = scene(height, width, 5)
    classes = load_vocabulary(vocabulary)
    method = load_method("fcclip", weights="random", device=device)
    assert isinstance(method, FCCLIP)
    trunk = copy.deepcopy(method.backbone.clip.visual.trunk)
    method.prepare(device=device, precision=precision)
    resized = resize_short_side(picture, method.short_side, method.long_side)
    pixels = torch.from_numpy(np.array(resized))[None].to(device)
    network_input = normalise_and_pad(pixels, method.backbone.spec, 32)

    def reference() -> None:
        with torch.no_grad():
            trunk.forward_features(network_input)

    def predict() -> dict[str, float]:
        return dict(method.predict_batch([picture], classes, tasks=TASKS)[0].seconds)

    predict(), reference()
    seconds, trunk_seconds, stages = [], [], []
    for _ in range(repeats):
        trunk_seconds.append(_timed(reference, device)[0])
        spent, split = _timed(predict, device)
        seconds.append(spent)
        stages.append(split)
    del trunk
    machine.reset_peak(device)
    predict()
    return PredictSpeed(
        ratio=statistics.median(ours / theirs for ours, theirs in zip(seconds, trunk_seconds, strict=True)),
        seconds=statistics.median(seconds),
        trunk_seconds=statistics.median(trunk_seconds),
        stages={name: statistics.median(split[name] for split in stages) for name in stages[0]},
        peak_gb=machine.peak_gb(device),
        computed_in=str(compute_dtype(device, precision)),
        linear=chosen_backend(torch.float32) if device.type == "cpu" else "plain",
    )


def bf16_agreement(folder: Path) -> dict[str, float]:
    """Share of pixels whose semantic class bf16 leaves as it is, on the golden models, pictures and 8 more scenes.

    The image tower is put into bf16 here even where `compute_dtype` would keep float32 because that is faster.
    """
    pictures = [scene(192, 256, 3), scene(150, 200, 4), *(scene(192, 256, seed) for seed in range(10, 18))]
    shares = {}
    for name in ("tiny", "tiny_rn"):
        golden = Golden(name)
        method = golden.load(folder)
        method.short_side, method.long_side = 192, 256
        exact = [method.predict(picture, golden.vocabulary).semantic for picture in pictures]
        method.backbone.set_image_dtype(torch.bfloat16)
        rough = [method.predict(picture, golden.vocabulary).semantic for picture in pictures]
        same = [float((a == b).float().mean()) for a, b in zip(exact, rough, strict=True)]
        shares[name] = statistics.mean(same)
    return {**shares, "bf16_rate_over_fp32": bf16_gain(torch.get_num_threads())}


def _timed(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result
