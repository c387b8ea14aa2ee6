"""The small CLIPs of toyworld, trained from nothing: a ConvNeXt for FC-CLIP, a ViT/16 for Trident.

    python benchmarks/toyworld/clip.py convnext
    python benchmarks/toyworld/clip.py vit
    python benchmarks/toyworld/clip.py convnext --evaluate     names of masks in 100 scenes of the split "val"
    python benchmarks/toyworld/clip.py convnext --export       weights to ovseg/weights/shipped

Contrastive, with whole scenes and their sentences, and with boxes and crops and their names. Phrases that
mean the same class are positives of one another, and phrases without colour and pattern ("a fish") are told
apart too. A training that was cut off goes on when it is started again.

The ConvNeXt is trained in two parts: small pictures first, which are many, then pictures at the size of the
evaluation, with boxes pooled from a map of as many cells as FC-CLIP's masks are. So is the ViT: boxes pooled
from its values first, then little boxes from values that DINO (`dino.py`, trained before) sums by likeness.

Source: CLIP (arXiv 2103.00020); several positives as in supervised contrastive learning (arXiv 2004.11362).
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from clip_evaluate import evaluate
from clip_pairs import Batch, kinds_and_phrases, make_batch, phrases_of_absent
from clip_towers import Likeness, encode_captions, encode_pictures
from corpus import Corpus
from depthwise import speed_up
from loop import cosine, fit
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from ovseg.models.clip_vit.proxy import ProxyAttention, affinity, renormalise
from ovseg.models.common.clip import build_clip
from ovseg.models.dino.encoder import dino
from ovseg.models.fcclip.backbone import CLIP_MEAN, CLIP_STD
from ovseg.weights.shipped import FOLDER

RUNS = Path("runs/toyworld")
EVALUATED, EVALUATED_SIDE = 100, 384
SCENE_LOSS = 0.25


@dataclass(frozen=True)
class Recipe:
    """Of one tower, or of one part of its training; the rate rises and falls once in each.

    Attributes:
        iterations: of this part.
        pictures, drawn_side: how many scenes there are, and their side in pixels as they were drawn.
        scenes, side: whole scenes of an update, and their size in pixels.
        crops, crop_side: crops of an update, and theirs.
        rate: the highest learning rate.
        decay: of the weights.
        shrink: (least, most) share of a box's side that is pooled.
        kind_loss: weight of the loss that tells phrases without colour and pattern apart.
        absent: phrases about other classes, which are right for none of the pictures.
        by_likeness: boxes are pooled from values that DINO sums, as ProxyCLIP and Trident do.
    """

    iterations: int
    pictures: int
    drawn_side: int
    scenes: int
    side: int
    crops: int
    crop_side: int
    rate: float
    decay: float
    shrink: tuple[float, float]
    kind_loss: float = 0.5
    absent: int = 0
    by_likeness: bool = False


RECIPES: Mapping[str, tuple[Recipe, ...]] = {
    "convnext": (
        Recipe(
            iterations=1500, pictures=6000, drawn_side=320, scenes=24, side=256, crops=64, crop_side=96,
            rate=2e-3, decay=0.05, shrink=(0.75, 0.95),
        ),
        Recipe(
            iterations=1500, pictures=4000, drawn_side=384, scenes=14, side=384, crops=32, crop_side=128,
            rate=1e-3, decay=0.05, shrink=(0.3, 0.85), kind_loss=1.0, absent=48,
        ),
    ),
    "vit": (
        Recipe(
            iterations=1300, pictures=6000, drawn_side=320, scenes=32, side=224, crops=64, crop_side=96,
            rate=1.5e-3, decay=0.05, shrink=(0.35, 0.9),
        ),
        Recipe(
            iterations=900, pictures=6000, drawn_side=320, scenes=32, side=224, crops=64, crop_side=96,
            rate=8e-4, decay=0.05, shrink=(0.1, 0.5), by_likeness=True,
        ),
    ),
}  # fmt: skip


class Trainer:
    """One CLIP, its optimiser, and the parts of its training, each with its pictures."""

    def __init__(self, tower: str, parts: Sequence[tuple[Recipe, Corpus]], device: str) -> None:
        torch.manual_seed(0)
        self.parts_of_training, self.device = parts, device
        self.clip, self.tokenizer = make_clip(tower)
        self.clip.to(device)
        grouped = any(recipe.by_likeness for recipe, _ in parts)
        self.likeness = dino_likeness(device) if grouped else None
        if tower == "convnext":
            self.clip.visual.to(memory_format=torch.channels_last)
            speed_up(self.clip.visual)
        self.optimiser = torch.optim.AdamW(_groups(self.clip), betas=(0.9, 0.98), eps=1e-6)
        self.validation: Corpus | None = None
        self.evaluate_every = 0

    def parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds."""
        return {"clip": self.clip, "optimiser": self.optimiser}

    def step(self, iteration: int) -> Mapping[str, float]:
        """One update."""
        recipe, corpus, start = self._part(iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = cosine(iteration - start, recipe.iterations, peak=recipe.rate, warmup=100)
            group["weight_decay"] = recipe.decay if group["decays"] else 0.0
        random = np.random.RandomState([17, iteration])
        batch = make_batch(
            corpus, random, scenes=recipe.scenes, side=recipe.side, crops=recipe.crops,
            crop_side=recipe.crop_side,
        )  # fmt: skip
        losses, hits = self._losses(recipe, batch, random)
        self.optimiser.zero_grad(set_to_none=True)
        (losses["named"] + SCENE_LOSS * losses["scenes"] + recipe.kind_loss * losses["kinds"]).backward()
        torch.nn.utils.clip_grad_norm_(self.clip.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, math.log(100))
        values = {key: loss.item() for key, loss in losses.items()}
        values |= {
            "hits": hits.item(),
            "pairs": len(batch.names),
            "scale": self.clip.logit_scale.exp().item(),
        }
        return {**values, **self._evaluation(iteration)}

    def _part(self, iteration: int) -> tuple[Recipe, Corpus, int]:
        """The part of the training in which an iteration lies, its pictures and its first iteration."""
        start = 0
        for recipe, corpus in self.parts_of_training:
            if iteration < start + recipe.iterations:
                return recipe, corpus, start
            start += recipe.iterations
        raise ValueError(f"The training has {start} iterations; there is none of number {iteration}.")

    def _losses(
        self, recipe: Recipe, batch: Batch, random: np.random.RandomState
    ) -> tuple[dict[str, Tensor], Tensor]:
        device = self.device
        pictures, crops = (_tensor(pixels, random).to(device) for pixels in (batch.scenes, batch.crops))
        boxes = torch.tensor(shrink(batch.boxes, recipe.shrink, random), device=device)
        owners = torch.tensor(batch.owners, dtype=torch.long, device=device)
        kinds, phrases = kinds_and_phrases(batch.names, random)
        absent = phrases_of_absent(batch.names, recipe.absent, random)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            likeness = self.likeness if recipe.by_likeness else None
            whole, parts = encode_pictures(self.clip, pictures, boxes, owners, likeness)
            cut, _ = encode_pictures(self.clip, crops, boxes[:0], owners[:0])
            texts = encode_captions(self.clip, self.tokenizer, [*batch.captions, *phrases, *absent])
            sentences = encode_captions(self.clip, self.tokenizer, batch.scene_captions)
        vectors = torch.cat([parts, cut])
        texts, phrases_encoded, others = texts.split([len(batch.captions), len(phrases), len(absent)])
        scale = self.clip.logit_scale.exp()
        keys = {name: number for number, name in enumerate(dict.fromkeys(batch.names))}
        labels = torch.tensor([keys[name] for name in batch.names], device=device)
        named, hits = contrast(vectors, texts, labels, scale, others)
        scenes, _ = contrast(whole, sentences, torch.arange(len(whole), device=device), scale)
        kind_logits = scale * cosines(vectors, phrases_encoded)
        of_kinds = F.cross_entropy(kind_logits, torch.tensor(kinds, device=device))
        return {"named": named, "scenes": scenes, "kinds": of_kinds}, hits

    def _evaluation(self, iteration: int) -> Mapping[str, float]:
        if self.validation is None or (iteration + 1) % self.evaluate_every:
            return {}
        found = evaluate(self.clip, self.tokenizer, self.validation)
        print(iteration + 1, _told(found), flush=True)
        return found


def make_clip(tower: str) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """With weights as open_clip draws them."""
    return build_clip(f"toyworld_clip_{tower}")


def dino_likeness(device: str) -> Likeness:
    """What Trident's last block sums values by, as published (beta 1.2, gamma 3), of toyworld's DINO.

    Rows of what the function gives, (b, m, m), sum to 1; nothing is learned through it.
    """
    encoder = dino(architecture="toyworld_dino", pretrained=None)
    encoder.load_weights(FOLDER / "toyworld_dino.safetensors")
    proxy = ProxyAttention(encoder=encoder).to(device)

    def likeness(pictures: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(torch.device(device).type, enabled=False):
            contiguous = pictures.float().contiguous()
            features = proxy.encoder(renormalise(contiguous, proxy.encoder.spec)).dense
            # Likenesses are judged by their mean over the windows of a picture; here it is one window.
            return torch.cat([proxy.scores(affinity(one)).softmax(-1) for one in features.split(1)])

    return likeness


def cosines(vectors: Tensor, texts: Tensor) -> Tensor:
    """(n, e) and (m, e) to (n, m), in float32."""
    return F.normalize(vectors.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T


def contrast(
    vectors: Tensor, texts: Tensor, labels: Tensor, scale: Tensor, others: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross entropy both ways, all of one label being equally right; and how often the best text is right.

    Args:
        vectors: (n, e) of regions.
        texts: (n, e) of their captions.
        labels: (n,) what both are of.
        scale: of the cosines.
        others: (m, e) of captions that are right for no region.
    """
    asked = texts if others is None else torch.cat([texts, others])
    logits = scale * cosines(vectors, asked)
    same = (labels[:, None] == labels[None]).float()
    target = same / same.sum(1, keepdim=True)
    to_texts = F.cross_entropy(logits, F.pad(target, (0, len(asked) - len(texts))))
    loss = (to_texts + F.cross_entropy(logits[:, : len(texts)].T, target)) / 2
    said = F.pad(labels, (0, len(asked) - len(texts)), value=-1)[logits.argmax(1)]
    return loss, (said == labels).float().mean()


def shrink(
    boxes: Sequence[tuple[float, float, float, float]],
    share: tuple[float, float],
    random: np.random.RandomState,
) -> np.ndarray:
    """A part of each box, of a random share of its sides, somewhere near its middle: float32 (n, 4)."""
    edges = np.array(boxes, np.float32).reshape(-1, 4)
    sides = edges[:, 2:] - edges[:, :2]
    kept = random.uniform(*share, (len(edges), 1)).astype(np.float32)
    free = sides * (1 - kept)
    start = edges[:, :2] + free * random.uniform(0.25, 0.75, free.shape).astype(np.float32)
    return np.concatenate([start, start + sides * kept], 1)


def _tensor(pixels: np.ndarray, random: np.random.RandomState) -> Tensor:
    """Normalised, (b, 3, h, w) in channels-last order; brightness, contrast and channels changed a little."""
    n = len(pixels)
    contrast, brightness = random.uniform(0.8, 1.2, (n, 1)), random.uniform(0.8, 1.2, (n, 1))
    gain = contrast * brightness * random.uniform(0.95, 1.05, (n, 3))
    bias = (1 - contrast) * 128 * brightness
    mean, std = np.array(CLIP_MEAN), np.array(CLIP_STD)
    scale, shift = (torch.from_numpy(v.astype(np.float32)) for v in (gain / std, (bias - mean) / std))
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    return pictures.mul_(scale[:, :, None, None]).add_(shift[:, :, None, None])


def _groups(clip: open_clip.CLIP) -> list[dict]:
    """No decay of biases, norms and the scale."""
    parameters = list(clip.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "decays": True},
        {"params": [p for p in parameters if p.ndim < 2], "decays": False},
    ]


def export(clip: open_clip.CLIP, path: Path) -> None:
    """open_clip's state dict in float16."""
    state = {key: value.detach().cpu().half().contiguous() for key, value in clip.state_dict().items()}
    save_file(state, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def _told(values: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.3f}" for key, value in values.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tower", choices=RECIPES)
    parser.add_argument("--minutes", type=float, help="stop after so long; start again to go on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="of the run, in place of runs/toyworld/clip_TOWER")
    parser.add_argument("--evaluate", action="store_true", help="no training: evaluate the checkpoint")
    parser.add_argument(
        "--export", action="store_true", help="no training: write the weights of the checkpoint"
    )
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    folder = asked.folder or RUNS / f"clip_{asked.tower}"
    if asked.evaluate or asked.export:
        clip, tokenizer = make_clip(asked.tower)
        saved = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
        clip.load_state_dict(saved["parts"]["clip"])
        if asked.evaluate:
            print(
                saved["iteration"], _told(evaluate(clip.to(asked.device), tokenizer, _validation(EVALUATED)))
            )
        if asked.export:
            export(clip, FOLDER / f"toyworld_clip_{asked.tower}.safetensors")
        return
    parts = [
        (recipe, Corpus("captions", recipe.pictures, recipe.drawn_side, RUNS / "corpus"))
        for recipe in RECIPES[asked.tower]
    ]
    iterations = sum(recipe.iterations for recipe, _ in parts)
    trainer = Trainer(asked.tower, parts, asked.device)
    trainer.validation, trainer.evaluate_every = _validation(30), 200
    start = time.monotonic()
    done = fit(trainer.step, trainer.parts(), iterations=iterations, folder=folder, minutes=asked.minutes)
    print(f"{done} iterations, {time.monotonic() - start:.0f} s", flush=True)
    if done == iterations:
        print(_told(evaluate(trainer.clip, trainer.tokenizer, _validation(EVALUATED))), flush=True)
        export(trainer.clip, FOLDER / f"toyworld_clip_{asked.tower}.safetensors")


def _validation(count: int) -> Corpus:
    return Corpus("val", count, EVALUATED_SIDE, RUNS / "corpus")


if __name__ == "__main__":
    main()
