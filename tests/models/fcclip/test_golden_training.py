"""One training step against the official code: matches, points, losses, gradients, and the step itself."""

from dataclasses import dataclass, field

import pytest
import torch
from golden.scene import scene
from helpers.golden_training import (
    TAGS,
    fresh_training,
    golden_step,
    golden_targets,
    golden_weights,
    network_input,
)
from helpers.tiny_fcclip import Golden
from torch import Tensor

from ovseg.models.fcclip import criterion as module
from ovseg.models.fcclip.criterion import Criterion, LayerOutput, Pairs
from ovseg.models.fcclip.training import FCCLIPTraining
from ovseg.models.fcclip.weights import official_key


@dataclass
class Step:
    """Everything that one step made, in the order of `TAGS`."""

    training: FCCLIPTraining
    layers: list[LayerOutput] = field(default_factory=list)
    pairs: list[Pairs] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)
    losses: dict[str, Tensor] = field(default_factory=dict)
    groups: list[dict] = field(default_factory=list)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)


def named(training: FCCLIPTraining) -> dict[str, Tensor]:
    return {official_key(key): p for key, p in training.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return golden_step()


@pytest.fixture(scope="module")
def step() -> Step:
    made = Step(fresh_training())
    training = made.training
    images = network_input(training, (scene(192, 256, 3), scene(150, 200, 4)))
    with pytest.MonkeyPatch.context() as patch:
        chosen, match, layers = module.loss_points, Criterion._match, FCCLIPTraining.layers
        patch.setattr(module, "loss_points", lambda *given: keep(made.points, chosen(*given)))
        patch.setattr(Criterion, "_match", lambda *given: keep_all(made.pairs, match(*given)))
        patch.setattr(FCCLIPTraining, "layers", lambda *given: keep_all(made.layers, layers(*given)))
        torch.manual_seed(golden_step().facts["torch_manual_seed"])
        made.losses = training.losses(images, golden_targets())
    sum(made.losses.values()).backward()
    made.gradients = {key: p.grad.clone() for key, p in named(training).items()}
    made.groups = training.parameter_groups(lr=1e-4, weight_decay=0.05)
    optimizer = torch.optim.AdamW(made.groups)
    torch.nn.utils.clip_grad_norm_(
        named(training).values(), golden_step().facts["optimizer"]["clip"]["value"]
    )
    optimizer.step()
    made.after = {key: p.detach().clone() for key, p in named(training).items()}
    return made


def keep(found: list, value: object) -> object:
    found.append(value)
    return value


def keep_all(found: list, values: list) -> list:
    found.extend(values)
    return values


def test_text_of_the_training_vocabulary(step: Step, golden: Golden) -> None:
    rows, class_of_row = step.training.classifier.with_void(step.training.text)
    assert (
        golden.difference("train_text_classifier", rows[: len(golden.arrays["train_text_classifier"])]) < 1e-4
    )
    assert int(class_of_row[-1]) == golden.facts["num_classes"]


def test_class_and_mask_logits_of_every_layer(step: Step, golden: Golden) -> None:
    last, *earlier = step.layers
    assert len(earlier) == 3
    for number, layer in enumerate((*earlier, last)):
        assert golden.difference(f"dec{number}.pred_logits", layer.class_logits) < 2e-4
        assert golden.difference(f"dec{number}.pred_masks", layer.mask_logits) < 1e-3


def test_matches_are_the_official_ones(step: Step, golden: Golden) -> None:
    for tag, pairs in zip(TAGS, step.pairs, strict=True):
        first = 0
        for picture, target in enumerate(golden_targets()):
            here = pairs.pictures == picture
            source, matched = (golden.arrays[f"match_{tag}_img{picture}_{end}"] for end in ("src", "tgt"))
            assert pairs.proposals[here].tolist() == source.tolist()
            assert (pairs.targets[here] - first).tolist() == matched.tolist()
            first += len(target.labels)


def test_points_are_the_official_ones(step: Step, golden: Golden) -> None:
    """The same points for every mask; of 14336, a few neighbours of equal uncertainty change places."""
    moved = 0
    for tag, points in zip(TAGS, step.points, strict=True):
        expected = torch.from_numpy(golden.arrays[f"points_{tag}"])
        for ours, theirs in zip(points, expected, strict=True):
            assert {tuple(point) for point in ours.tolist()} == {tuple(point) for point in theirs.tolist()}
        moved += int((points != expected).any(-1).sum())
    assert moved <= 30


def test_losses(step: Step, golden: Golden) -> None:
    expected = golden.facts["losses_weighted_as_returned"]
    assert list(step.losses) == list(expected)
    for key, value in expected.items():
        assert step.losses[key].item() == pytest.approx(value, rel=2e-6)
    assert sum(step.losses.values()).item() == pytest.approx(golden.facts["total"], rel=1e-6)


def test_gradients(step: Step, golden: Golden) -> None:
    """Norms within 5e-4 where 1e-3 was asked for; the largest difference seen is 1.1e-4."""
    norms = {key: float(gradient.double().norm()) for key, gradient in step.gradients.items()}
    assert norms == pytest.approx(golden.facts["grad_norm_by_param"], rel=5e-4)
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(golden.facts["grad_norm_total"], rel=1e-5)
    for prefix, expected in golden.facts["grad_norm_by_group"].items():
        part = sum(norm**2 for key, norm in norms.items() if key.startswith(prefix)) ** 0.5
        assert part == pytest.approx(expected, rel=1e-4), prefix
    clipping = golden.facts["optimizer"]["clip"]["value"] / total  # the arrays were stored after it
    for key in golden.arrays:
        if key.startswith("grad/"):
            gradient = step.gradients[key.removeprefix("grad/")] * clipping
            assert golden.difference(key, gradient) < 2e-3 * float(gradient.abs().max()), key


def test_what_is_trained_and_how(step: Step, golden: Golden) -> None:
    facts = golden.facts
    expected = {group["name"]: group for group in facts["optimizer"]["groups"]}
    assert {group["name"] for group in step.groups} == set(expected) == set(facts["requires_grad"])
    for group in step.groups:
        (parameter,) = group["params"]
        assert list(parameter.shape) == expected[group["name"]]["shape"]
        assert group["lr"] == expected[group["name"]]["lr"]
        assert group["weight_decay"] == expected[group["name"]]["weight_decay"]
    assert sum(g["params"][0].numel() for g in step.groups) == facts["n_trainable_params"]
    assert len({id(group["params"][0]) for group in step.groups}) == len(step.groups) == 130
    assert not any(p.requires_grad for p in step.training.backbone.parameters())
    assert not any(p.grad is not None for p in step.training.backbone.parameters())
    assert not step.training.backbone.clip.training


def test_parameters_after_one_step(step: Step, golden: Golden) -> None:
    """The first step of AdamW is nearly lr times the gradient's sign, so this is about clip, lr and decay."""
    before = golden_weights()
    for key, delta in golden.facts["optimizer"]["step_max_abs_delta"].items():
        assert float((step.after[key] - before[key]).abs().max()) == pytest.approx(delta, rel=2e-3), key
    for key in golden.arrays:
        if key.startswith("after_step/"):
            assert golden.difference(key, step.after[key.removeprefix("after_step/")]) < 1e-6, key


def test_recomputing_gives_the_same_losses_and_gradients(step: Step) -> None:
    training = fresh_training(recompute=True)
    torch.manual_seed(golden_step().facts["torch_manual_seed"])
    losses = training.losses(network_input(training), golden_targets())
    assert {key: loss.item() for key, loss in losses.items()} == {
        key: loss.item() for key, loss in step.losses.items()
    }
    sum(losses.values()).backward()
    for key, parameter in named(training).items():
        assert torch.allclose(parameter.grad, step.gradients[key], rtol=1e-4, atol=1e-5), key
