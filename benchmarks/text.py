"""Text encoding: ovseg's text tower against open_clip's own, which pads every prompt to 77 tokens."""

import statistics
import time
from collections.abc import Callable
from typing import TypedDict

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from ovseg.models.common.text import ClipTextEncoder
from ovseg.vocabulary import load_templates, load_vocabulary


class TextSpeed(TypedDict):
    """What `measure` found.

    Attributes:
        ratio: median seconds of open_clip over median seconds of ovseg.
        seconds, reference_seconds: medians of ovseg and of open_clip.
        first_seconds: of the first call of ovseg, which also chooses the matrix library and packs weights.
        max_difference: largest entry of the difference of the two features, each L2-normalised.
        prompts: how many.
    """

    ratio: float
    seconds: float
    reference_seconds: float
    first_seconds: float
    max_difference: float
    prompts: int


def measure(
    *, architecture: str = "convnext_large_d_320", device: str = "cpu", runs: int = 3, seed: int = 0
) -> TextSpeed:
    """Time the 19 names of Cityscapes in 14 templates, on random weights, the two sides in turns.

    Args:
        architecture: an open_clip name; its text tower is what is timed.
        device: where.
        runs: of each side; the reference is what takes long.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    config = open_clip.get_model_config(architecture)
    # The image tower takes no part; a small one stands in for it.
    config["vision_cfg"] = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1}
    clip = open_clip.CLIP(**config).eval().to(device)
    tokenizer = SimpleTokenizer()
    names = load_vocabulary("cityscapes", names="plain").synonyms
    prompts = [template.replace("{}", name) for name in names for template in load_templates("vild")]
    encoder = ClipTextEncoder(clip, tokenizer)

    @torch.no_grad()
    def reference() -> Tensor:
        features: Tensor = clip.encode_text(tokenizer(prompts).to(device))
        return features

    first_seconds, features = _timed(lambda: encoder.encode(prompts), device)
    expected = reference()
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(_timed(lambda: encoder.encode(prompts), device)[0])
        theirs.append(_timed(reference, device)[0])
    difference = F.normalize(features, dim=-1) - F.normalize(expected.float(), dim=-1)
    return TextSpeed(
        ratio=statistics.median(theirs) / statistics.median(ours),
        seconds=statistics.median(ours),
        reference_seconds=statistics.median(theirs),
        first_seconds=first_seconds,
        max_difference=float(difference.abs().max()),
        prompts=len(prompts),
    )


def _timed(work: Callable[[], Tensor], device: str) -> tuple[float, Tensor]:
    start = time.perf_counter()
    result = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    for key, value in measure().items():
        print(f"{key}: {value:.4g}")
