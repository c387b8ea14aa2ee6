"""Train toyworld's Segment Anything: the package's own modules at a small size, on masks without names.

    OMP_NUM_THREADS=1 python benchmarks/toyworld/sam.py --minutes 40

As in the paper (arXiv 2304.02643, appendix A) a picture is encoded once and asked many times; an ambiguous
prompt (one point, one box) is answered with three masks, of which the best one learns, and the answer comes
back as a prompt together with a point where it was wrong. Different: there is one such round and not ten, and
a quarter of the pictures is asked with coarse maps (`sam_prompts`). The paper's encoder was trained as a
masked autoencoder before; this one starts from nothing, and a loss on its embedding tells it, beside the
masks, which places are in one segment. In its last two stages the training also asks the last attention,
which Trident reads and the paper's encoder learned by itself, to look at segments: at whole ones first, then
at what of them is near. Masks are those of the split ``train``, so unseen classes have none.
"""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from augment import cut, jitter_colours, random_crop, soften
from corpus import Corpus
from export import export
from loop import cosine, fit
from sam_measure import measure
from sam_model import (
    HIGHEST_LOGIT,
    SamModel,
    answers_for,
    chosen,
    correlation_loss,
    grouping_loss,
    losses,
)
from sam_prompts import CELL, Prompts, correction, draw_prompts, draw_targets

from ovseg.models.sam.architecture import SamSize, sam_size
from ovseg.weights.shipped import FOLDER

NAME = "toyworld_sam"
SEED = 2304
KINDS = ("point", "box", "coarse", "point_box")
"""Of the pictures of a batch, in turn; the last two are prompts without ambiguity."""


@dataclass(frozen=True)
class Stage:
    """The learning rate rises and falls once in each.

    Attributes:
        iterations: of this stage.
        peak: highest learning rate.
        reach: how far, in places of the embedding, the last attention is asked to look at a place's segment;
            None lets it alone.
    """

    iterations: int
    peak: float
    reach: float | None


STAGES = (Stage(1800, 6e-4, None), Stage(600, 3e-4, math.inf), Stage(400, 3e-4, 3.5))
ITERATIONS = sum(stage.iterations for stage in STAGES)

BALANCED = (0.1, 0.4)
"""Shares of the first stage between which the focal loss takes over from the balanced one."""

CORRECTIONS_FROM = 0.25
"""Share of the first stage after which answers come back with corrections; before, they are too bad."""


class Training:
    """One update after the other; everything random follows from the iteration's number.

    Args:
        model: learns.
        corpus: pictures with masks, at the network's size.
        prompts: of each picture.
        validation: pictures to measure on, and how often; None for never.
    """

    def __init__(
        self,
        *,
        model: SamModel,
        corpus: Corpus,
        prompts: int = 8,
        validation: tuple[Corpus, int] | None = None,
    ) -> None:
        self.model, self.corpus = model, corpus
        self.prompts, self.validation = prompts, validation
        self.optimiser = torch.optim.AdamW(_groups(model), lr=STAGES[0].peak, betas=(0.9, 0.99))

    def step(self, iteration: int) -> Mapping[str, float]:
        """Learn from a picture for each of `KINDS`."""
        random = np.random.RandomState([SEED, iteration])
        stage, done = stage_of(iteration)
        seen = [self._picture(random) for _ in KINDS]
        embeddings, tokens = self.model.embed(np.stack([picture for picture, _, _ in seen]))
        logged: dict[str, float] = {}
        total = torch.zeros((), device=self.model.device)
        for place, (kind, (_, ids, things)) in enumerate(zip(KINDS, seen, strict=True)):
            truth, others = draw_targets(ids, things, self.prompts, random)
            prompts = draw_prompts(kind, truth, others, random)
            embedding = embeddings[place : place + 1]
            total = total + self._answered(embedding, prompts, iteration, random, logged)
            places = torch.from_numpy(ids[2::CELL, 2::CELL].astype(np.int64)).to(total.device)
            grouped = grouping_loss(embedding, places)
            logged["grouping"] = logged.get("grouping", 0.0) + grouped.item() / len(KINDS)
            total = total + grouped
            if stage.reach is not None:
                looking = self.model.last_attention(tokens[place : place + 1])
                correlated = correlation_loss(*looking, places, reach=stage.reach)
                logged["correlation"] = logged.get("correlation", 0.0) + correlated.item() / len(KINDS)
                total = total + correlated
        total = total / len(KINDS)
        self._update(total, cosine(done, stage.iterations, peak=stage.peak, warmup=50))
        logged["loss"] = total.item()
        return {**logged, **self._measured(iteration + 1)}

    def _picture(self, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, frozenset[int]]:
        """A picture, changed at random, the segments on the masks' grid, and which of these are things."""
        index = random.randint(len(self.corpus))
        image, ids = self.corpus.image(index), self.corpus.ids(index)
        side = image.shape[0]
        crop = random_crop(side, (0.4, 1.0), random) if random.rand() < 0.5 else (0.0, 0.0, float(side))
        flip = bool(random.rand() < 0.5)
        picture = jitter_colours(cut(image, crop, side, flip=flip), 0.3, random)
        if random.rand() < 0.3:
            picture = soften(picture, random.randint(side // 2, side))
        segments = cut(ids, crop, side // CELL, flip=flip, nearest=True)
        things = frozenset(segment.id for segment in self.corpus.segments(index) if segment.is_thing)
        return picture, segments, things

    def _answered(
        self,
        embedding: torch.Tensor,
        prompts: Prompts,
        iteration: int,
        random: np.random.RandomState,
        logged: dict[str, float],
    ) -> torch.Tensor:
        """Loss of the answers to prompts and, later in the training, of those to their corrections."""
        truth = torch.from_numpy(prompts.truth).to(embedding.device)
        share = iteration / STAGES[0].iterations
        balanced = float(np.interp(share, BALANCED, (1, 0)))
        logits, quality = self.model.answer(embedding, prompts)
        some = answers_for(prompts.kind)
        first, error, ious = losses(logits[:, some], quality[:, some], truth, balanced=balanced)
        picked = ious[torch.arange(len(ious)), quality[:, some].argmax(1)]
        logged[f"iou_{prompts.kind}"] = picked.mean().item()
        if share < CORRECTIONS_FROM:
            return first + error
        answer = chosen(logits[:, some], quality[:, some]).clamp(-HIGHEST_LOGIT, HIGHEST_LOGIT)
        again = corrected(prompts, answer.cpu().numpy(), random)
        logits, quality = self.model.answer(embedding, again)
        second, error_again, ious = losses(logits[:, :1], quality[:, :1], truth, balanced=balanced)
        logged[f"iou_{prompts.kind}_corrected"] = ious.mean().item()
        return first + error + second + error_again

    def _update(self, loss: torch.Tensor, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()

    def _measured(self, done: int) -> Mapping[str, float]:
        if self.validation is None or (done % self.validation[1] and done != ITERATIONS):
            return {}
        return {f"val_{key}": value for key, value in measure(self.model, self.validation[0], 20).items()}


def stage_of(iteration: int) -> tuple[Stage, int]:
    """The stage in which an iteration lies, and how many iterations of it are over.

    Raises:
        ValueError: the training has fewer iterations.
    """
    for stage in STAGES:
        if iteration < stage.iterations:
            return stage, iteration
        iteration -= stage.iterations
    raise ValueError(f"The training has {ITERATIONS} iterations.")


def corrected(prompts: Prompts, answer: np.ndarray, random: np.random.RandomState) -> Prompts:
    """The same prompts with their answers, logits (n, m, m), as mask prompts and a point more."""
    points, labels = correction(answer > 0, prompts.truth, random)
    if prompts.points is not None and prompts.labels is not None:
        points, labels = (
            np.concatenate([prompts.points, points], 1),
            np.concatenate([prompts.labels, labels], 1),
        )
    return replace(prompts, kind="corrected", points=points, labels=labels, masks=answer)


def build_model(size: SamSize) -> SamModel:
    """With the same random weights each time."""
    torch.manual_seed(SEED)
    return SamModel(size)


def _groups(model: SamModel) -> list[dict[str, object]]:
    """Matrices decay; biases, norms, tokens and positions do not."""
    matrices = [weight for key, weight in model.named_parameters() if weight.ndim >= 2 and _decays(key)]
    others = [weight for key, weight in model.named_parameters() if weight.ndim < 2 or not _decays(key)]
    return [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]


def _decays(key: str) -> bool:
    return not any(part in key for part in ("pos_embed", "rel_pos", "embed.weight", "embeddings", "token."))


def main() -> None:
    """Train, or measure with --evaluate, or write the package's file with --export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, help="of this call; the run can be continued")
    parser.add_argument("--pictures", type=int, default=1200, help="of the split train")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", type=Path, default=Path("runs/toyworld/sam"))
    parser.add_argument("--corpus", type=Path, default=Path("runs/toyworld/corpus"))
    parser.add_argument("--evaluate", type=int, metavar="PICTURES", help="measure the run's model and stop")
    parser.add_argument("--untrained", action="store_true", help="measure random weights")
    parser.add_argument("--export", action="store_true", help="write the run's model as it is and stop")
    given = parser.parse_args()
    size = sam_size(str(FOLDER / f"{NAME}.json"))
    model = build_model(size).to(given.device)
    if given.evaluate or given.export:
        if not given.untrained:
            saved = torch.load(given.run / "checkpoint.pt", map_location=given.device, weights_only=True)
            model.load_state_dict(saved["parts"]["model"])
        if given.export:
            print(export(model.state_dict(), NAME))
        if given.evaluate:
            pictures = Corpus("val", given.evaluate, size.image_size, given.corpus)
            print(json.dumps(measure(model, pictures, given.evaluate, thorough=True), indent=1))
        return
    training = Training(
        model=model,
        corpus=Corpus("train", given.pictures, size.image_size, given.corpus),
        validation=(Corpus("val", 20, size.image_size, given.corpus), 250),
    )
    fit(
        training.step,
        {"model": model, "optimiser": training.optimiser},
        iterations=ITERATIONS,
        folder=given.run,
        minutes=given.minutes,
    )
    print(export(model.state_dict(), NAME))


if __name__ == "__main__":
    main()
