"""FC-CLIP as a trainable method: what is trained, options, number formats, checkpoints."""

import math
from pathlib import Path

import pytest
import torch
from golden.scene import scene
from helpers.golden_training import fresh_method, fresh_training, training_vocabulary
from helpers.tiny_fcclip import read_golden
from torch import Tensor

from ovseg.errors import ConfigError, DataError, WeightsError
from ovseg.interfaces import Trainable
from ovseg.models.fcclip import weights
from ovseg.models.fcclip.loss_options import LossOptions
from ovseg.models.fcclip.mask_pooled import MaskPooledClassifier
from ovseg.models.fcclip.method import FCCLIP
from ovseg.models.fcclip.training import FCCLIPTraining
from ovseg.types import Targets, TrainingBatch
from ovseg.vocabulary import ClassEntry, Vocabulary

NAMES = {name for entry in training_vocabulary().classes for name in entry.names}


def batch(*seeds: int, size: tuple[int, int] = (64, 96)) -> TrainingBatch:
    """Pictures with two rectangles each."""
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[0, 8:40, 10:50] = True
    masks[1, 30:, 60:] = True
    images = torch.stack([torch.from_numpy(scene(*size, seed)) for seed in seeds])
    targets = tuple(Targets(torch.tensor([seed % 8, 6]), masks) for seed in seeds)
    return TrainingBatch(images, targets)


def per_picture(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def shared() -> FCCLIPTraining:
    """Not to be changed."""
    return fresh_training(points=64)


@pytest.fixture
def saved(shared: FCCLIPTraining, tmp_path: Path) -> Path:
    path = tmp_path / "training.pth"
    content = {
        "model": shared.checkpoint_state(with_frozen=True),
        "ovseg": shared.metadata(),
        "iteration": 7,
    }
    torch.save(content, path)
    return path


def test_a_method_is_trainable_and_its_parts_are_shared() -> None:
    method = fresh_method()
    assert isinstance(method, Trainable)
    training = method.start_training(training_vocabulary(), options={"points": 64})
    assert training.mask_generator is method.mask_generator
    assert set(method._training_names) == NAMES
    training.train()
    assert training.mask_generator.training
    assert not any(part.training for part in training.backbone.clip.modules())


def test_losses_of_a_batch(shared: FCCLIPTraining) -> None:
    losses = shared(batch(1, 2), generator=per_picture(1, 2))
    assert len(losses) == 3 * 4
    assert all(loss.shape == () and math.isfinite(loss.item()) for loss in losses.values())


def test_one_generator_gives_the_same_losses_again(shared: FCCLIPTraining) -> None:
    def total(seed: int) -> float:
        return sum(shared(batch(1), generator=torch.Generator().manual_seed(seed)).values()).item()

    assert total(3) == total(3) != total(4)


def test_two_pictures_are_what_each_is_alone(shared: FCCLIPTraining) -> None:
    """With equal numbers of targets, all losses are plain means; sizes need no padding to be so."""
    together = shared(batch(1, 2), generator=per_picture(1, 2))
    alone = [shared(batch(seed), generator=per_picture(seed)) for seed in (1, 2)]
    for key, loss in together.items():
        mean = sum(one[key].item() for one in alone) / 2
        assert loss.item() == pytest.approx(mean, rel=2e-3), key


def test_pictures_of_any_size_are_padded(shared: FCCLIPTraining) -> None:
    losses = shared(batch(1, size=(50, 70)))
    assert all(math.isfinite(loss.item()) for loss in losses.values())


@pytest.mark.parametrize("recompute", [False, True])
def test_autocast_to_bf16(shared: FCCLIPTraining, recompute: bool) -> None:
    """Losses come out in float32, near those of float32; the class heads and the pixel decoder stay exact."""
    expected = shared(batch(1), generator=per_picture(1))
    training = fresh_training(points=64, recompute=recompute)
    with torch.autocast("cpu", torch.bfloat16):
        losses = training(batch(1), generator=per_picture(1))
    sum(losses.values()).backward()
    for key, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[key].item(), rel=0.25), key
    for parameter in (p for p in training.parameters() if p.requires_grad):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def kept_bytes(training: FCCLIPTraining) -> int:
    """What the forward pass leaves for the backward pass, parameters not counted."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = training(batch(1))
    own = {parameter.untyped_storage().data_ptr() for parameter in training.parameters()}
    assert losses
    return sum(size for place, size in kept.items() if place not in own)


def test_recomputing_keeps_less(shared: FCCLIPTraining) -> None:
    assert kept_bytes(fresh_training(points=64, recompute=True)) < 0.5 * kept_bytes(shared)


def test_every_trained_parameter_has_a_gradient_even_without_targets() -> None:
    training = fresh_training(points=16)
    empty = Targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 64, 96, dtype=torch.bool))
    sum(training(TrainingBatch(batch(1).images, (empty,))).values()).backward()
    assert [key for key, p in training.named_parameters() if p.requires_grad and p.grad is None] == []


def test_some_steps_lower_the_loss() -> None:
    training = fresh_training(points=128)
    optimizer = torch.optim.AdamW(training.parameter_groups(lr=1e-3, weight_decay=0.05))
    totals = []
    for _ in range(6):
        optimizer.zero_grad()
        total = sum(training(batch(1), generator=torch.Generator().manual_seed(0)).values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


@pytest.mark.parametrize("label", [8, -1])
def test_a_label_outside_the_vocabulary(shared: FCCLIPTraining, label: int) -> None:
    wrong = Targets(torch.tensor([label]), torch.ones(1, 64, 96, dtype=torch.bool))
    with pytest.raises(DataError, match=rf"class index {label}; the vocabulary 'tiny_train' has 8 classes"):
        shared(TrainingBatch(batch(1).images, (wrong,)))


def test_parts_that_are_not_fcclips() -> None:
    method = fresh_method()
    method.classifier = MaskPooledClassifier()
    with pytest.raises(ConfigError, match="model/classifier=fcclip; this model has Mask2Former and MaskPool"):
        method.start_training(training_vocabulary())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"point": 5}, "no training option 'point'. Did you mean 'points'"),
        ({"points": 0}, "points=0 must be a whole number in 1..1048576"),
        ({"points": 1.5}, "points=1.5 must be a whole number"),
        ({"uncertain_share": 1.5}, "uncertain_share=1.5 must be in 0..1"),
        ({"oversampling": 0.5}, "oversampling=0.5 must be in 1..100"),
        ({"dice_weight": -1}, "dice_weight=-1 must be in 0..1000000"),
        ({"mask_weight": "5"}, "mask_weight=5 must be in 0..1000000"),
        ({"mask_weight": True}, "mask_weight=True must be in 0..1000000"),
        ({"class_weight": float("nan")}, "class_weight=nan must be in 0..1000000"),
        ({"class_weight": float("inf")}, "class_weight=inf must be in 0..1000000"),
    ],
)
def test_options_that_are_wrong(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossOptions.of(options)


def test_options_reach_the_losses() -> None:
    options = {"points": 100, "void_weight": 0.2, "class_weight": 1, "uncertain_share": 0.5}
    criterion = LossOptions.of(options).criterion()
    assert (criterion.plan.points, criterion.plan.candidates, criterion.plan.uncertain) == (100, 300, 50)
    assert (criterion.void_weight, criterion.weights.class_, criterion.weights.mask) == (0.2, 1, 5.0)
    official = LossOptions.of(None).criterion()
    assert (official.plan.points, official.plan.candidates, official.plan.uncertain) == (12544, 37632, 9408)


def test_official_layout(shared: FCCLIPTraining) -> None:
    state = shared.checkpoint_state(with_frozen=True)
    official = read_golden("tiny").facts["state_dict"]
    assert {key: list(tensor.shape) for key, tensor in state.items()} == {
        key: shape for key, (shape, _) in official.items()
    }
    assert state["criterion.empty_weight"].tolist() == pytest.approx([1.0] * 8 + [0.1])
    trained = shared.checkpoint_state(with_frozen=False)
    assert set(state) - set(trained) == {key for key in state if key.startswith("backbone.")}
    assert trained


def untrained(folder: Path) -> FCCLIP:
    method = read_golden("tiny").build(folder)
    method._training_names = ("something else",)
    return method


def test_a_checkpoint_says_what_was_seen(saved: Path, tmp_path: Path, shared: FCCLIPTraining) -> None:
    method = untrained(tmp_path)
    method.load_weights(saved)
    assert set(method._training_names) == NAMES
    known, unknown = ClassEntry(names=("tree", "puppy")), ClassEntry(names=("tree",))
    text = method.embed(method.backbone, Vocabulary(name="two", classes=(known, unknown)))
    assert text.is_seen.tolist() == [True, False]
    for key, tensor in method.state_dict().items():
        assert torch.equal(tensor, shared.state_dict()[key])
    read = weights.trained_vocabulary(saved)
    assert read == training_vocabulary()
    assert [entry.is_thing for entry in read.classes] == [True] * 5 + [False] * 3


def test_an_official_checkpoint_leaves_the_configured_names(tmp_path: Path) -> None:
    path = read_golden("tiny").checkpoint(tmp_path)
    method = untrained(tmp_path)
    method.load_weights(path)
    assert method._training_names == ("something else",)
    assert weights.trained_vocabulary(path) is None


@pytest.mark.parametrize(
    "damage",
    [{}, {"training_vocabulary": {"name": "x", "classes": []}}, {"training_vocabulary": {"name": "x"}}, 5],
)
def test_damaged_metadata(shared: FCCLIPTraining, tmp_path: Path, damage: object) -> None:
    path = tmp_path / "damaged.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "ovseg": damage}, path)
    with pytest.raises(WeightsError, match="has no training vocabulary under 'ovseg' that can be read"):
        weights.trained_vocabulary(path)


@pytest.fixture
def halved() -> FCCLIPTraining:
    """A training whose frozen CLIP computes in bf16."""
    method = fresh_method()
    method.backbone.set_image_dtype(torch.bfloat16)
    return method.start_training(training_vocabulary(), options={"points": 64})


def clip_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


def test_a_half_precision_clip_trains(halved: FCCLIPTraining) -> None:
    losses = halved.train()(batch(1))
    sum(losses.values()).backward()
    assert all(math.isfinite(loss.item()) for loss in losses.values())


def test_a_half_precision_clip_is_saved_as_published(
    halved: FCCLIPTraining, shared: FCCLIPTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = clip_of(shared.checkpoint_state(with_frozen=True))
    published = tmp_path / "clip.pth"
    torch.save({key.removeprefix("backbone.clip_model."): value for key, value in exact.items()}, published)
    assert not clip_of(halved.checkpoint_state(with_frozen=False))
    with pytest.raises(ConfigError, match="Save checkpoints without the frozen CLIP"):
        halved.checkpoint_state(with_frozen=True)
    monkeypatch.setattr(halved.backbone, "weights_name", str(published))
    found = clip_of(halved.checkpoint_state(with_frozen=True))
    assert all(torch.equal(found[key], value) for key, value in exact.items())
