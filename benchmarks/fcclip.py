"""FC-CLIP from picture to masks, against the plain forward of its own image trunk.

The trunk's eager float32 forward is work that no implementation can leave out and that is the same for all of
them, so the ratio to it can be compared between machines. The official code's is 2.06 (on a Zen 5).
"""

import copy
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import machine
import torch
from golden.scene import scene
from helpers.tiny_fcclip import Golden
from passes import Passes, record_passes
from products import Clock, Products, ProductsFloor, floors, in_format, record
from timing import best_gflops, gflop, in_turns
from torch import Tensor

from ovseg.models.common.linear import chosen_backend
from ovseg.models.common.precision import bf16_gain, compute_dtype
from ovseg.models.common.preprocess import normalise_and_pad, resize_short_side
from ovseg.models.fcclip.method import FCCLIP
from ovseg.models.fcclip.weights import official_state_dict
from ovseg.run.load import load_method
from ovseg.types import TASKS, Image
from ovseg.vocabulary import Vocabulary


class PredictSpeed(TypedDict):
    """Medians over the repeats.

    Attributes:
        ratio: of `seconds` to `trunk_seconds`, taken pair by pair.
        seconds: of one picture, from pixels to all three outputs; text embeddings are in memory.
        trunk_seconds: timm's own eager forward of the trunk in float32 on the same padded input.
        stages: seconds per stage.
        peak_gb: during one prediction, text tower loaded; on a CPU of a whole process, see `peak`.
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


class Floor(TypedDict):
    """What the ratio could be if all products ran at this processor's best rate and all else were free.

    The best rate is that of one large product here; `products_floor` asks each product for its own.

    Attributes:
        trunk_gflop, predict_gflop: multiplications and additions of the trunk and of the whole prediction.
        trunk_gflops: rate at which the eager trunk runs.
        best_gflops: rate of the faster library on large float32 products.
        best_bf16_gflops: the same in bf16.
        ratio: predict_gflop / best_gflops over the eager trunk's seconds.
        bf16_ratio: the same with the trunk's part in bf16.
    """

    trunk_gflop: float
    predict_gflop: float
    trunk_gflops: float
    best_gflops: float
    best_bf16_gflops: float
    ratio: float
    bf16_ratio: float


@dataclass(frozen=True)
class Subject:
    """What is predicted, and at which size.

    Attributes:
        picture: its pixels.
        short_side: of the network input in pixels; None leaves the picture as large as it is.
        vocabulary: the classes.
    """

    picture: Image
    short_side: int | None
    vocabulary: Vocabulary

    @property
    def overrides(self) -> list[str]:
        """Of the config."""
        if self.short_side is not None:
            return [f"model.short_side={self.short_side}"]
        sides = sorted(self.picture.shape[:2])
        return [f"model.short_side={sides[0]}", f"model.long_side={sides[1]}"]

    def method(self, checkpoint: Path, device: torch.device | str, precision: str = "fp32") -> FCCLIP:
        """The model of the checkpoint."""
        made = load_method(
            "fcclip", weights=checkpoint, device=device, precision=precision, overrides=self.overrides
        )
        assert isinstance(made, FCCLIP)
        return made

    def predict(self, method: FCCLIP) -> dict[str, float]:
        """All outputs; the seconds of the stages."""
        return dict(method.predict_batch([self.picture], self.vocabulary, tasks=TASKS)[0].seconds)


def save_checkpoint(folder: Path) -> Path:
    """A full-size checkpoint in the official layout with random weights."""
    method = load_method("fcclip", weights="random", text_cache=False)
    assert isinstance(method, FCCLIP)
    path = folder / "fcclip_random.pth"
    torch.save({"model": official_state_dict(method, training_classes=133)}, path)
    return path


def measure(
    subject: Subject, *, checkpoint: Path, precision: str, device: torch.device, repeats: int
) -> PredictSpeed:
    """Time one picture in turns with the trunk alone, then take the peak of one more prediction."""
    method = subject.method(checkpoint, device, precision)
    turns = in_turns(lambda: subject.predict(method), _trunk(method, subject.picture), device, repeats)
    if device.type == "cuda":
        machine.reset_peak(device)
        subject.predict(method)
        peak = machine.peak_gb(device)
    else:
        peak = _peak_alone(subject, checkpoint, precision)
    return PredictSpeed(
        ratio=turns.ratio,
        seconds=turns.seconds,
        trunk_seconds=turns.reference_seconds,
        stages=turns.stages,
        peak_gb=peak,
        computed_in=str(compute_dtype(device, precision)),
        linear=chosen_backend(torch.float32) if device.type == "cpu" else "plain",
    )


def floor(subject: Subject, *, checkpoint: Path, trunk_seconds: float) -> Floor:
    """Count the work and the best rate on the CPU; see `Floor`."""
    method = subject.method(checkpoint, "cpu")
    method.requires_grad_(False)  # the counter follows gradients where a parameter asks for them
    trunk = gflop(_trunk(method, subject.picture))
    method.embed(method.backbone, subject.vocabulary)  # counted apart: once per vocabulary
    whole = gflop(lambda: subject.predict(method))
    best, best_bf16 = best_gflops(torch.float32), best_gflops(torch.bfloat16)
    return Floor(
        trunk_gflop=trunk,
        predict_gflop=whole,
        trunk_gflops=trunk / trunk_seconds,
        best_gflops=best,
        best_bf16_gflops=best_bf16,
        ratio=whole / best / trunk_seconds,
        bf16_ratio=(trunk / best_bf16 + (whole - trunk) / best) / trunk_seconds,
    )


def products_floor(
    subject: Subject, *, checkpoint: Path, rounds: int, clock: Clock
) -> dict[str, ProductsFloor]:
    """What the ratio could be if all but the products that occur were free; see `products`.

    ``fp32`` and ``bf16`` have each product in the format that it runs in at that precision, ``all_bf16`` has
    mask generator and outputs in bf16 too, which they never are.
    """
    programs: dict[str, Products] = {}
    passes: dict[str, Passes] = {}
    for precision in ("bf16", "fp32"):
        method = subject.method(checkpoint, "cpu", precision)
        method.embed(method.backbone, subject.vocabulary)  # once per vocabulary
        programs[precision] = record(lambda: subject.predict(method))  # noqa: B023 (called at once)
        passes[precision] = record_passes(lambda: subject.predict(method))  # noqa: B023 (called at once)
    programs["all_bf16"] = in_format(programs["fp32"], torch.bfloat16)
    passes["all_bf16"] = passes["bf16"]
    return floors(programs, passes, _trunk(method, subject.picture), rounds=rounds, clock=clock)


def bf16_agreement(folder: Path) -> dict[str, float]:
    """Share of pixels whose semantic class bf16 leaves as it is, on the golden pictures and 8 more scenes.

    The image tower is put into bf16 here even where `compute_dtype` would keep float32 because it is faster.
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
        shares[name] = statistics.mean(
            float((a == b).float().mean()) for a, b in zip(exact, rough, strict=True)
        )
    return {**shares, "bf16_rate_over_fp32": bf16_gain(torch.get_num_threads())}


def _trunk(method: FCCLIP, picture: Image) -> Callable[[], Tensor]:
    """The eager float32 forward of a copy of the trunk on the picture's network input."""
    trunk = copy.deepcopy(method.backbone.clip.visual.trunk).float()
    resized = resize_short_side(picture, method.short_side, method.long_side)
    pixels = torch.tensor(resized)[None].to(method.device)
    network_input = normalise_and_pad(pixels, method.backbone.spec, 32)
    return torch.no_grad()(lambda: trunk.forward_features(network_input))


def _peak_alone(subject: Subject, checkpoint: Path, precision: str) -> float:
    """Peak of a prediction in a process of its own: here the timed trunk's copy has been in memory."""
    script = str(Path(__file__).with_name("peak.py"))
    size = [str(side) for side in subject.picture.shape[:2]]
    command = [sys.executable, script, str(checkpoint), "--precision", precision, "--size", *size]
    if subject.short_side is not None:
        command += ["--short-side", str(subject.short_side)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(printed)
    return max(float(report[which]["peak_gb"]) for which in ("first", "later"))
