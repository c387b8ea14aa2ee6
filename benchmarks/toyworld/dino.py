"""Train toyworld's DINO: a vision transformer that learns by itself what belongs together.

    OMP_NUM_THREADS=1 python benchmarks/toyworld/dino.py --minutes 25

A student sees large and small crops of a picture, a slow copy of it, the teacher, the large ones, and for
each of its crops the student says what the teacher says of another (DINO, arXiv 2104.14294). What ovseg reads
of the model are its patches, and a training of minutes teaches these little through the class token alone, so
the student also says what the teacher says of patches that were hidden from it (iBOT, arXiv 2111.07832).
Pictures are those of the split ``captions``; neither names nor masks are used.
"""

import argparse
import copy
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus
from dino_measure import measure, raw_patches
from dino_model import (
    Centre,
    DinoModel,
    between_views,
    cross_entropy,
    follow,
    normalised,
    rising,
)
from dino_views import ViewSizes, draw_mask, draw_views
from export import export
from loop import cosine, fit

from ovseg.models.dino.architecture import build_vit
from ovseg.weights.shipped import FOLDER

NAME = "toyworld_dino"
SEED = 2104
PATCH = 16
MEASURED_SIDE = 384


class Training:
    """One update after the other; everything random follows from the iteration's number.

    Args:
        student: learns.
        teacher: follows it.
        corpus: pictures.
        iterations: of the whole training, for all schedules.
        pictures: of an update.
        peak: highest learning rate.
        patches_weight: of iBOT's loss; 0 is DINO alone.
        sizes: of the views.
        validation: pictures to measure on, and how often; None for never.
    """

    def __init__(
        self,
        *,
        student: DinoModel,
        teacher: DinoModel,
        corpus: Corpus,
        iterations: int,
        pictures: int = 20,
        peak: float = 1e-3,
        patches_weight: float = 1.0,
        sizes: ViewSizes | None = None,
        validation: tuple[Corpus, int] | None = None,
    ) -> None:
        self.student, self.teacher, self.corpus = student, teacher.requires_grad_(False), corpus
        self.iterations, self.pictures, self.peak = iterations, pictures, peak
        self.patches_weight, self.sizes, self.validation = patches_weight, sizes or ViewSizes(), validation
        device = student.hidden_patch.device
        self.class_centre, self.patch_centre = Centre().to(device), Centre().to(device)
        self.optimiser = torch.optim.AdamW(_groups(student), lr=peak, betas=(0.9, 0.99))

    @property
    def parts(self) -> dict[str, object]:
        """All that a checkpoint must keep."""
        return {
            "student": self.student,
            "teacher": self.teacher,
            "class_centre": self.class_centre,
            "patch_centre": self.patch_centre,
            "optimiser": self.optimiser,
        }

    def step(self, iteration: int) -> Mapping[str, float]:
        """Learn from some pictures, then let the teacher follow."""
        random = np.random.RandomState([SEED, iteration])
        large, small, hidden = self._views(random)
        share = iteration / self.iterations
        temperature = rising(5 * share, 0.04, 0.06)
        with torch.no_grad():
            seen = self.teacher.tokens(large)
            of_class = self.teacher.project(seen[:, 0])
            wanted = self.class_centre.sharpened(of_class, temperature)
            wanted_patches = self.patch_centre.sharpened(
                self.teacher.project(seen[:, 1:][hidden]), temperature
            )
        partly = self.student.tokens(large, hidden)
        classes = torch.cat(
            [
                part.unflatten(0, (self.pictures, -1))
                for part in (partly[:, 0], self.student.tokens(small)[:, 0])
            ],
            1,
        )
        loss = between_views(wanted.unflatten(0, (self.pictures, -1)), self.student.project(classes))
        patches = cross_entropy(wanted_patches, self.student.project(partly[:, 1:][hidden]))
        self._update(loss + self.patches_weight * patches, iteration)
        follow(self.teacher, self.student, rising(share, 0.99, 1.0))
        logged = {"class_loss": loss.item(), "patch_loss": patches.item()}
        logged |= _spread("class", wanted) | _spread("patch", wanted_patches)
        return {**logged, **self._measured(iteration + 1)}

    def _views(self, random: np.random.RandomState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Large and small views of random pictures, each one's in a row, and what is hidden of the large."""
        found = [
            draw_views(self.corpus.image(index), self.sizes, random)
            for index in random.randint(0, len(self.corpus), self.pictures)
        ]
        device = self.student.hidden_patch.device
        large, small = (
            normalised(np.concatenate([views[place] for views in found]), device) for place in (0, 1)
        )
        grid = self.sizes.large // PATCH
        masks = np.stack([draw_mask(grid, random) for _ in range(len(large))])
        return large, small, torch.from_numpy(masks).flatten(1).to(device)

    def _update(self, loss: torch.Tensor, iteration: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = cosine(iteration, self.iterations, peak=self.peak, warmup=self.iterations // 20)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if iteration < self.iterations // 20:
            self.student.prototypes.grad = None  # as in the paper: the last layer starts later
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimiser.step()

    def _measured(self, done: int) -> Mapping[str, float]:
        if self.validation is None or (done % self.validation[1] and done != self.iterations):
            return {}
        found = measure(self.teacher.backbone, self.validation[0], 20)
        return {f"val_{key}": value for key, value in found.items()}


def build_model() -> tuple[DinoModel, DinoModel]:
    """Student and teacher with the same random weights, the same each time."""
    torch.manual_seed(SEED)
    student = DinoModel(build_vit(str(FOLDER / f"{NAME}.json")))
    return student, copy.deepcopy(student)


def _spread(what: str, wanted: torch.Tensor) -> dict[str, float]:
    """Entropy, in nats, of one distribution of the teacher and of their mean: collapse shows in both."""

    def entropy(rows: torch.Tensor) -> float:
        return float(torch.special.entr(rows).sum(-1).mean())

    return {f"{what}_entropy": entropy(wanted), f"{what}_entropy_of_mean": entropy(wanted.mean(0))}


def _groups(model: DinoModel) -> list[dict[str, object]]:
    """Matrices decay; biases, norms, tokens, positions and prototypes do not."""
    kept = ("pos_embed", "cls_token", "hidden_patch", "prototypes")
    plain = {key: not key.endswith(kept) and weight.ndim >= 2 for key, weight in model.named_parameters()}
    matrices = [weight for key, weight in model.named_parameters() if plain[key]]
    others = [weight for key, weight in model.named_parameters() if not plain[key]]
    return [{"params": matrices, "weight_decay": 0.04}, {"params": others, "weight_decay": 0.0}]


def main() -> None:
    """Train, or measure with --evaluate, or write the package's file with --export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, help="of this call; the run can be continued")
    parser.add_argument("--iterations", type=int, default=700)
    parser.add_argument("--pictures", type=int, default=4000, help="of the split captions")
    parser.add_argument("--side", type=int, default=320, help="of these pictures, in pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", type=Path, default=Path("runs/toyworld/dino"))
    parser.add_argument("--corpus", type=Path, default=Path("runs/toyworld/corpus"))
    parser.add_argument("--evaluate", type=int, metavar="PICTURES", help="measure the run's model and stop")
    parser.add_argument("--export", action="store_true", help="write the run's model as it is and stop")
    given = parser.parse_args()
    student, teacher = (model.to(given.device) for model in build_model())
    if given.evaluate or given.export:
        untrained = copy.deepcopy(teacher)
        saved = torch.load(given.run / "checkpoint.pt", map_location=given.device, weights_only=True)
        teacher.load_state_dict(saved["parts"]["teacher"])
        if given.export:
            print(export(teacher.backbone.state_dict(), NAME))
        if given.evaluate:
            pictures = Corpus("val", given.evaluate, MEASURED_SIDE, given.corpus)
            found = {
                "trained": measure(teacher.backbone, pictures, given.evaluate),
                "untrained": measure(untrained.backbone, pictures, given.evaluate),
                "raw patches": raw_patches(pictures, given.evaluate),
            }
            print(json.dumps(found, indent=1))
        return
    training = Training(
        student=student,
        teacher=teacher,
        corpus=Corpus("captions", given.pictures, given.side, given.corpus),
        iterations=given.iterations,
        validation=(Corpus("val", 20, MEASURED_SIDE, given.corpus), 100),
    )
    fit(training.step, training.parts, iterations=given.iterations, folder=given.run, minutes=given.minutes)
    print(export(teacher.backbone.state_dict(), NAME))


if __name__ == "__main__":
    main()
