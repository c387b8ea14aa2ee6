"""The small CLIPs of toyworld, trained from nothing: a ConvNeXt for FC-CLIP, a ViT/16 for Trident.

    python benchmarks/toyworld/clip.py convnext
    python benchmarks/toyworld/clip.py vit
    python benchmarks/toyworld/clip.py convnext --evaluate     names of masks in 100 scenes of the split "val"
    python benchmarks/toyworld/clip.py convnext --export       weights to ovseg/weights/shipped

Contrastive, with whole scenes and their sentences, and with boxes and crops and their names. Phrases that
mean the same class are positives of one another, and phrases without colour and pattern ("a fish") are told
apart too. A training that was cut off goes on when it is started again.

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
from clip_pairs import Batch, kinds_and_phrases, make_batch
from clip_towers import encode_captions, encode_pictures
from corpus import Corpus
from depthwise import speed_up
from loop import cosine, fit
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from ovseg.models.common.clip import build_clip
from ovseg.models.fcclip.backbone import CLIP_MEAN, CLIP_STD
from ovseg.weights.shipped import FOLDER

RUNS = Path("runs/toyworld")
CORPUS_SIZE, CORPUS_SIDE = 6000, 320
EVALUATED, EVALUATED_SIDE = 100, 384
SCENE_LOSS, KIND_LOSS = 0.25, 0.5


@dataclass(frozen=True)
class Recipe:
    """Of one tower.

    Attributes:
        iterations: of the whole training.
        scenes, side: whole scenes of an update, and their size in pixels.
        crops, crop_side: crops of an update, and theirs.
        rate: the highest learning rate.
        decay: of the weights.
        shrink: (least, most) share of a box's side that is pooled.
    """

    iterations: int
    scenes: int
    side: int
    crops: int
    crop_side: int
    rate: float
    decay: float
    shrink: tuple[float, float]


RECIPES = {
    "convnext": Recipe(
        iterations=1500, scenes=24, side=256, crops=64, crop_side=96,
        rate=2e-3, decay=0.05, shrink=(0.75, 0.95),
    ),
    "vit": Recipe(
        iterations=1300, scenes=32, side=224, crops=64, crop_side=96,
        rate=1.5e-3, decay=0.05, shrink=(0.35, 0.9),
    ),
}  # fmt: skip


class Trainer:
    """One CLIP, its optimiser and its pictures."""

    def __init__(self, tower: str, corpus: Corpus, device: str, recipe: Recipe) -> None:
        torch.manual_seed(0)
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.clip, self.tokenizer = make_clip(tower)
        self.clip.to(device)
        if tower == "convnext":
            self.clip.visual.to(memory_format=torch.channels_last)
            speed_up(self.clip.visual)
        self.optimiser = torch.optim.AdamW(_groups(self.clip, recipe.decay), betas=(0.9, 0.98), eps=1e-6)
        self.validation: Corpus | None = None
        self.evaluate_every = 0

    def parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds."""
        return {"clip": self.clip, "optimiser": self.optimiser}

    def step(self, iteration: int) -> Mapping[str, float]:
        """One update."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = cosine(iteration, recipe.iterations, peak=recipe.rate, warmup=100)
        random = np.random.RandomState([17, iteration])
        batch = make_batch(
            self.corpus, random, scenes=recipe.scenes, side=recipe.side, crops=recipe.crops,
            crop_side=recipe.crop_side,
        )  # fmt: skip
        losses, hits = self._losses(batch, random)
        self.optimiser.zero_grad(set_to_none=True)
        (losses["named"] + SCENE_LOSS * losses["scenes"] + KIND_LOSS * losses["kinds"]).backward()
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

    def _losses(self, batch: Batch, random: np.random.RandomState) -> tuple[dict[str, Tensor], Tensor]:
        recipe, device = self.recipe, self.device
        pictures, crops = (_tensor(pixels, random).to(device) for pixels in (batch.scenes, batch.crops))
        boxes = torch.tensor(shrink(batch.boxes, recipe.shrink, random), device=device)
        owners = torch.tensor(batch.owners, dtype=torch.long, device=device)
        kinds, phrases = kinds_and_phrases(batch.names, random)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            whole, parts = encode_pictures(self.clip, pictures, boxes, owners)
            cut, _ = encode_pictures(self.clip, crops, boxes[:0], owners[:0])
            texts = encode_captions(self.clip, self.tokenizer, [*batch.captions, *phrases])
            sentences = encode_captions(self.clip, self.tokenizer, batch.scene_captions)
        vectors = torch.cat([parts, cut])
        texts, phrases_encoded = texts.split([len(batch.captions), len(phrases)])
        scale = self.clip.logit_scale.exp()
        keys = {name: number for number, name in enumerate(dict.fromkeys(batch.names))}
        labels = torch.tensor([keys[name] for name in batch.names], device=device)
        named, hits = contrast(vectors, texts, labels, scale)
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
    return build_clip(f"toyworld_clip_{tower}", openai=False)


def cosines(vectors: Tensor, texts: Tensor) -> Tensor:
    """(n, e) and (m, e) to (n, m), in float32."""
    return F.normalize(vectors.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T


def contrast(vectors: Tensor, texts: Tensor, labels: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy both ways, all of one label being equally right; and how often the best text is right."""
    logits = scale * cosines(vectors, texts)
    same = (labels[:, None] == labels[None]).float()
    target = same / same.sum(1, keepdim=True)
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    return loss, (labels[logits.argmax(1)] == labels).float().mean()


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


def _groups(clip: open_clip.CLIP, decay: float) -> list[dict]:
    """No decay of biases, norms and the scale."""
    parameters = list(clip.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
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
    parser.add_argument("--iterations", type=int, help="of the whole training, in place of the recipe's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--corpus-size", type=int, default=CORPUS_SIZE)
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
    recipe = RECIPES[asked.tower]
    if asked.iterations:
        recipe = Recipe(**{**vars(recipe), "iterations": asked.iterations})
    corpus = Corpus("captions", asked.corpus_size, CORPUS_SIDE, RUNS / "corpus")
    trainer = Trainer(asked.tower, corpus, asked.device, recipe)
    trainer.validation, trainer.evaluate_every = _validation(30), 200
    start = time.monotonic()
    done = fit(
        trainer.step, trainer.parts(), iterations=recipe.iterations, folder=folder, minutes=asked.minutes
    )
    print(f"{done} iterations, {time.monotonic() - start:.0f} s", flush=True)
    if done == recipe.iterations:
        print(_told(evaluate(trainer.clip, trainer.tokenizer, _validation(EVALUATED))), flush=True)
        export(trainer.clip, FOLDER / f"toyworld_clip_{asked.tower}.safetensors")


def _validation(count: int) -> Corpus:
    return Corpus("val", count, EVALUATED_SIDE, RUNS / "corpus")


if __name__ == "__main__":
    main()
