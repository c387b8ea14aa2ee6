"""Trident from picture to masks, against the plain forward of SAM's own image encoder.

The eager float32 forward of the segment-anything package's ViT-B encoder is the largest part of the work and
the same for all implementations. The official code's ratio is 1.81 (on a Zen 5). The picture is 448 x 592
with ten classes, refinement on; weights are seeded, in the layouts of the published files, with thresholds
at which regions are found and masks survive.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import machine
import open_clip
import timm
import torch
from golden.scene import scene
from golden.trident_seed_weights import seed_state_dict
from helpers.tiny_trident import Golden
from passes import Passes, record_passes
from products import Clock, Products, ProductsFloor, floors, in_format, record
from segment_anything import sam_model_registry
from timing import best_gflops, gflop, in_turns
from torch import Tensor, nn

from ovseg.models.common.linear import chosen_backend
from ovseg.models.common.precision import bf16_gain, compute_dtype
from ovseg.models.sam.prompted import Sam
from ovseg.models.trident.method import Trident
from ovseg.run.load import load_method
from ovseg.types import Image
from ovseg.vocabulary import Vocabulary, parse_classes

CLASSES = ("frog", "cabinet", "fence", "rock", "sand", "screen door", "window pane", "sink", "house", "grass")
GAINS = {
    "clip.visual.conv1": 4.0,
    "clip.visual.transformer.resblocks.11.attn.in_proj_bias": 0.3,
    "clip.visual.transformer.resblocks.11.attn.out_proj.bias": 0.3,
    "clip.visual.ln_post.bias": 0.3,
    "dino.blocks": 0.3,
    "sam.image_encoder.blocks.11.attn.qkv.weight": 3.0,
    "sam.mask_decoder.iou_prediction_head.layers.2.weight": 4.0,
}
"""As in the golden files, for the depth of the real towers; without them all tokens are alike."""
SETTINGS = ("model.coarse_threshold=0.1", "model.iou_threshold=-10")


class TridentSpeed(TypedDict):
    """Medians over the repeats.

    Attributes:
        ratio: of `seconds` to `encoder_seconds`, taken pair by pair.
        seconds: of one picture, from pixels to all three outputs; text embeddings are in memory.
        encoder_seconds: the package's eager forward of the ViT-B encoder in float32.
        stages: seconds per stage.
        peak_gb: of a process that only predicts.
        computed_in: the number format that the image towers really ran in.
        linear: the library of the float32 linear layers.
    """

    ratio: float
    seconds: float
    encoder_seconds: float
    stages: dict[str, float]
    peak_gb: float
    computed_in: str
    linear: str


class Weights:
    """Seeded weights of the full-size towers as files, and the overrides that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with torch.device("meta"):
            modules: dict[str, nn.Module] = {
                "clip": open_clip.CLIP(**(open_clip.get_model_config("ViT-B-16") or {}), quick_gelu=True),
                "dino": timm.create_model("vit_base_patch16_224.dino", num_classes=0),
                "sam": sam_model_registry["vit_b"](),
            }
        for part, module in modules.items():
            torch.save(seed_state_dict(module.state_dict(), f"{part}.", GAINS), self.file(part))

    def file(self, part: str) -> Path:
        """Where the weights of ``clip``, ``dino`` or ``sam`` are."""
        return self.folder / f"{part}.pth"

    @cached_property
    def overrides(self) -> list[str]:
        """What is typed after ``model=trident``."""
        return [
            "model.backbone.architecture=ViT-B-16-quickgelu",  # as the published weights need
            f"model.backbone.pretrained={self.file('clip')}",
            f"model.backbone.last_block.encoder.pretrained={self.file('dino')}",
            f"model.mask_generator.checkpoint={self.file('sam')}",
            *SETTINGS,
        ]


def measure(*, weights: Weights, precision: str, size: Sequence[int], repeats: int) -> TridentSpeed:
    """Time one picture in turns with the encoder alone; the peak is taken in a process of its own."""
    device = torch.device("cpu")
    picture, vocabulary = subject(size)
    method = load_method("trident", device=device, precision=precision, overrides=weights.overrides)
    turns = in_turns(
        lambda: dict(method.predict(picture, vocabulary).seconds), _encoder(weights), device, repeats
    )
    return TridentSpeed(
        ratio=turns.ratio,
        seconds=turns.seconds,
        encoder_seconds=turns.reference_seconds,
        stages=turns.stages,
        peak_gb=_peak_alone(weights, precision, size),
        computed_in=str(compute_dtype(device, precision)),
        linear=chosen_backend(torch.float32),
    )


def floor(*, weights: Weights, size: Sequence[int], encoder_seconds: float) -> dict[str, float]:
    """What the ratio could be if all products ran at the rate of one large product and all else were free."""
    picture, vocabulary = subject(size)
    method = load_method("trident", device="cpu", overrides=weights.overrides)
    method.requires_grad_(False)
    method.predict(picture, vocabulary)  # the text is counted apart: once per vocabulary
    encoder, whole = gflop(_encoder(weights)), gflop(lambda: method.predict(picture, vocabulary))
    best, best_bf16 = best_gflops(torch.float32), best_gflops(torch.bfloat16)
    return {
        "encoder_gflop": encoder,
        "predict_gflop": whole,
        "encoder_gflops": encoder / encoder_seconds,
        "best_gflops": best,
        "best_bf16_gflops": best_bf16,
        "ratio": whole / best / encoder_seconds,
        "bf16_ratio": whole / best_bf16 / encoder_seconds,
    }


def products_floor(
    *, weights: Weights, size: Sequence[int], rounds: int, clock: Clock
) -> dict[str, ProductsFloor]:
    """What the ratio could be if all but the products that occur were free; see `products`.

    ``fp32`` and ``bf16`` have each product in the format that it runs in at that precision, ``all_bf16`` has
    correlation and refinement in bf16 too.
    """
    picture, vocabulary = subject(size)
    programs: dict[str, Products] = {}
    passes: dict[str, Passes] = {}
    for precision in ("bf16", "fp32"):
        method = load_method("trident", device="cpu", precision=precision, overrides=weights.overrides)
        method.predict(picture, vocabulary)  # the text is counted apart: once per vocabulary
        programs[precision] = record(lambda: method.predict(picture, vocabulary))  # noqa: B023 (called at once)
        passes[precision] = record_passes(lambda: method.predict(picture, vocabulary))  # noqa: B023 (called at once)
    programs["all_bf16"] = in_format(programs["fp32"], torch.bfloat16)
    passes["all_bf16"] = passes["bf16"]
    return floors(programs, passes, _encoder(weights), rounds=rounds, clock=clock)


def bf16_agreement(folder: Path) -> dict[str, float]:
    """Share of pixels whose coarse class bf16 leaves as it is, on ten scenes with small seeded towers."""
    golden = Golden("a")
    files = golden.write(folder)
    method = load_method(
        "trident",
        device="cpu",
        text_cache=False,
        overrides=[
            f"model.backbone.architecture={files['clip_json']}",
            f"model.backbone.pretrained={files['clip']}",
            f"model.backbone.last_block.encoder.architecture={files['dino_json']}",
            f"model.backbone.last_block.encoder.pretrained={files['dino']}",
            f"model.mask_generator.architecture={_sam_json(golden, folder)}",
            f"model.mask_generator.checkpoint={files['sam']}",
            "model.refine=false",
        ],
    )
    assert isinstance(method, Trident)
    pictures = [scene(448, 624, 22), *(scene(448, 592, seed) for seed in range(10, 19))]
    exact = [method.predict(picture, golden.vocabulary, tasks=["semantic"]).semantic for picture in pictures]
    method.backbone.set_image_dtype(torch.bfloat16)
    assert isinstance(method.mask_generator, Sam)
    method.mask_generator.set_image_dtype(torch.bfloat16)
    rough = [method.predict(picture, golden.vocabulary, tasks=["semantic"]).semantic for picture in pictures]
    shares = [float((a == b).float().mean()) for a, b in zip(exact, rough, strict=True)]
    return {"coarse": statistics.mean(shares), "bf16_rate_over_fp32": bf16_gain(torch.get_num_threads())}


def subject(size: Sequence[int]) -> tuple[Image, Vocabulary]:
    """The picture and the classes."""
    height, width = size
    return scene(height, width, 5), parse_classes(list(CLASSES))


def _encoder(weights: Weights) -> Callable[[], Tensor]:
    sam = sam_model_registry["vit_b"](checkpoint=str(weights.file("sam"))).eval()
    x = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    return torch.no_grad()(lambda: sam.image_encoder(x))


def _sam_json(golden: Golden, folder: Path) -> Path:
    path = folder / "sam.json"
    path.write_text(json.dumps(golden.facts["tiny_config"]["sam"]))
    return path


def _peak_alone(weights: Weights, precision: str, size: Sequence[int]) -> float:
    command = [sys.executable, __file__, str(weights.folder), precision, *map(str, size)]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the tests' helpers are among them
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=paths)
    return float(done.stdout)


def _print_peak(folder: str, precision: str, height: str, width: str) -> None:
    """Predict twice in this process, which has done nothing else, and print the peak in 10^9 bytes."""
    weights = Weights.__new__(Weights)
    weights.folder = Path(folder)
    torch.set_num_threads(2)
    method = load_method("trident", device="cpu", precision=precision, overrides=weights.overrides)
    picture, vocabulary = subject((int(height), int(width)))
    method.embed(method.backbone, vocabulary)
    machine.reset_peak(torch.device("cpu"))
    for _ in range(2):
        method.predict(picture, vocabulary)
    print(machine.peak_gb(torch.device("cpu")))


if __name__ == "__main__":
    _print_peak(*sys.argv[1:])
