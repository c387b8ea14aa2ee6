"""The exact training step of the official code on the small FC-CLIP: inputs, weights and what came out."""

import copy
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from golden.scene import scene
from golden.seed_weights import seed_state_dict
from torch import Tensor

from helpers.tiny_fcclip import Golden, read_golden
from ovseg.models.common.preprocess import normalise_and_pad
from ovseg.models.fcclip.method import FCCLIP
from ovseg.models.fcclip.training import FCCLIPTraining
from ovseg.types import Targets
from ovseg.vocabulary import ClassEntry, Vocabulary

PICTURES = (scene(192, 256, 3), scene(150, 200, 4))
TAGS = ("final", "0", "1", "2")
"""Of the predictions: the last layer, the initial queries, the layers between."""


@cache
def golden_step() -> Golden:
    """The golden file of the step."""
    return Golden("tiny_train")


def training_vocabulary() -> Vocabulary:
    """The training classes of the step."""
    classes = (
        ClassEntry(names=tuple(names.replace(", ", ",").split(",")), is_thing=bool(thing))
        for names, thing in golden_step().facts["train_classes"]
    )
    return Vocabulary(name="tiny_train", classes=tuple(classes))


def golden_targets() -> tuple[Targets, ...]:
    """The targets of both pictures, at the pictures' own sizes."""
    arrays = golden_step().arrays
    return tuple(
        Targets(
            torch.from_numpy(arrays[f"target_labels_{name}"]),
            torch.from_numpy(arrays[f"target_masks_{name}"]),
        )
        for name in "AB"
    )


@cache
def golden_weights() -> dict[str, Tensor]:
    """The seeded weights of the step under the official names."""
    facts = golden_step().facts
    shapes = {
        key: (tuple(shape), getattr(torch, dtype[6:]))
        for key, (shape, dtype) in read_golden("tiny").facts["state_dict"].items()
    }
    state = seed_state_dict(shapes, 1.0, facts["salt"])
    kept = {key: torch.zeros(shape, dtype=kind) for key, (shape, kind) in shapes.items() if key not in state}
    overridden = {key: torch.tensor(value) for key, value in facts["override"].items()}
    return {**state, **kept, **overridden}


def fresh_method() -> FCCLIP:
    """The method with the seeded weights of the step, to be trained."""
    return copy.deepcopy(_method())


@cache
def _method() -> FCCLIP:
    with tempfile.TemporaryDirectory() as folder:
        method = read_golden("tiny").build(Path(folder))
        path = Path(folder) / "weights.pth"
        torch.save({"model": golden_weights()}, path)
        method.load_weights(path)
    method.prepare(device=torch.device("cpu"), precision="fp32")
    return method


def fresh_training(*, recompute: bool = False, points: int = 512) -> FCCLIPTraining:
    """The module to be trained, with the points of the step."""
    training = fresh_method().start_training(
        training_vocabulary(), recompute=recompute, options={"points": points}
    )
    return training.train()


def network_input(training: FCCLIPTraining, pictures: tuple[np.ndarray, ...] = PICTURES) -> Tensor:
    """Pictures, normalised and zero-padded to one size, as the official code batches them."""
    inputs = [normalise_and_pad(torch.from_numpy(p)[None], training.backbone.spec, 32) for p in pictures]
    height, width = (max(x.shape[axis] for x in inputs) for axis in (-2, -1))
    return torch.cat([F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in inputs])
