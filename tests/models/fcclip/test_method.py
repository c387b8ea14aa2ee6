"""FC-CLIP as a method: settings, pictures of every shape, and predictions that leave no trace."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from golden.scene import scene
from helpers.tiny_fcclip import golden_method, read_golden

from ovseg.errors import ConfigError
from ovseg.interfaces import Method
from ovseg.models.common import precision
from ovseg.models.common.text import TextCache
from ovseg.models.fcclip.backbone import FrozenClip
from ovseg.models.fcclip.method import FCCLIP
from ovseg.types import TASKS, Prediction
from ovseg.vocabulary import Vocabulary, load_vocabulary

PICTURE = scene(64, 96, 1)


@pytest.fixture(params=["tiny", "tiny_rn"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FCCLIP:
    shared = golden_method(request.param)
    monkeypatch.setattr(shared, "short_side", 64)
    monkeypatch.setattr(shared, "long_side", 160)
    return shared


@pytest.fixture
def vocabulary() -> Vocabulary:
    return read_golden("tiny").vocabulary


def build(**settings: object) -> FCCLIP:
    """Another method around the parts of a shared one."""
    parts = golden_method("tiny")
    return FCCLIP(
        backbone=parts.backbone,
        mask_generator=parts.mask_generator,
        classifier=parts.classifier,
        text_cache=TextCache(None),
        **settings,
    )


def assert_same(one: Prediction, other: Prediction, share: float = 0.0) -> None:
    """Equal but for a share of the pixels."""
    assert (one.semantic != other.semantic).double().mean() <= share
    assert (one.panoptic.ids != other.panoptic.ids).double().mean() <= share
    assert [(s.id, s.label) for s in one.panoptic.segments] == [
        (s.id, s.label) for s in other.panoptic.segments
    ]
    assert torch.equal(one.instances.labels, other.instances.labels)
    assert torch.allclose(one.instances.scores, other.instances.scores, atol=1e-4)
    assert (one.instances.masks != other.instances.masks).double().mean() <= share


def assert_well_formed(prediction: Prediction, size: tuple[int, int], classes: int) -> None:
    assert prediction.image_size == size
    assert prediction.semantic.shape == size
    assert 0 <= int(prediction.semantic.min()) <= int(prediction.semantic.max()) < classes
    assert prediction.panoptic.ids.shape == size
    known = {0, *(segment.id for segment in prediction.panoptic.segments)}
    assert set(prediction.panoptic.ids.unique().tolist()) <= known
    assert prediction.instances.masks.shape[1:] == size
    assert prediction.instances.scores.isfinite().all()


def test_it_is_a_method(method: FCCLIP) -> None:
    assert isinstance(method, Method)
    assert method.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_side": 0}, "fcclip: short_side=0 must be in 1..long_side=1333."),
        ({"short_side": 900, "long_side": 800}, "fcclip: short_side=900 must be in 1..long_side=800."),
        ({"instances_per_image": 0}, "fcclip: instances_per_image=0 must be at least 1."),
        ({"object_mask_threshold": 1.5}, "fcclip: object_mask_threshold=1.5 must be in 0..1."),
        ({"overlap_threshold": -0.1}, "fcclip: overlap_threshold=-0.1 must be in 0..1."),
        ({"overlap_threshold": float("nan")}, "fcclip: overlap_threshold=nan must be in 0..1."),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(**settings)
    assert str(error.value) == message


def test_an_unknown_task(method: FCCLIP, vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match=r"Unknown tasks: 'depth'\. Allowed are one or more of semantic,"):
        method.predict(PICTURE, vocabulary, tasks=["depth"])


def test_a_picture_in_any_form(method: FCCLIP, vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    PIL.Image.fromarray(PICTURE).save(path)
    expected = method.predict(PICTURE, vocabulary)
    assert_well_formed(expected, (64, 96), len(vocabulary))
    for given in (path, str(path), PIL.Image.fromarray(PICTURE)):
        assert_same(method.predict(given, vocabulary), expected)


def test_classes_as_strings(method: FCCLIP) -> None:
    prediction = method.predict(PICTURE, ["cat|kitten", "stuff:sky", "truck"])
    assert_well_formed(prediction, (64, 96), 3)
    assert [entry.name for entry in prediction.vocabulary.classes] == ["cat", "sky", "truck"]
    assert not any(segment.is_thing for segment in prediction.panoptic.segments if segment.label == 1)


def test_one_class(method: FCCLIP) -> None:
    assert not method.predict(PICTURE, ["cat"]).semantic.any()


@pytest.mark.parametrize("layout", ["strided", "read-only", "mirrored", "turned", "columns first"])
def test_any_memory_layout(method: FCCLIP, vocabulary: Vocabulary, layout: str) -> None:
    """Of pictures that need no resizing and so go into the network as they are."""
    whole = scene(128, 192, 2)
    picture = {
        "strided": whole[::2, ::2],
        "read-only": whole[:64, :96],
        "mirrored": whole[:64, 95::-1],
        "turned": whole[:96, :64].swapaxes(0, 1),
        "columns first": np.asfortranarray(whole[:64, :96]),
    }[layout]
    picture.flags.writeable = layout != "read-only"
    assert_same(method.predict(picture, vocabulary), method.predict(picture.copy(order="C"), vocabulary))


@pytest.mark.parametrize("size", [(1, 1), (20, 200), (200, 20), (1, 40), (3, 2), (333, 97)])
def test_pictures_of_any_shape(method: FCCLIP, vocabulary: Vocabulary, size: tuple[int, int]) -> None:
    assert_well_formed(method.predict(scene(*size, 3), vocabulary), size, len(vocabulary))


def test_a_batch_of_several_sizes(method: FCCLIP, vocabulary: Vocabulary) -> None:
    """In the order given, each as it is alone; 2 and 4 share a network input, though not a size."""
    pictures = [scene(64, 96, 1), scene(50, 70, 2), scene(96, 64, 3), scene(100, 140, 4)]
    together = method.predict_batch(pictures, vocabulary, tasks=TASKS)
    for picture, batched in zip(pictures, together, strict=True):
        assert_well_formed(batched, picture.shape[:2], len(vocabulary))
        assert_same(method.predict(picture, vocabulary), batched, share=2e-3)


def test_an_empty_batch(method: FCCLIP, vocabulary: Vocabulary) -> None:
    assert method.predict_batch([], vocabulary, tasks=TASKS) == []


def test_only_the_views_that_were_asked_for(method: FCCLIP, vocabulary: Vocabulary) -> None:
    prediction = method.predict(PICTURE, vocabulary, tasks=["panoptic"])
    assert prediction.panoptic is not None
    assert prediction.semantic is None
    assert prediction.instances is None


def test_seconds_are_shared_by_the_batch(method: FCCLIP, vocabulary: Vocabulary) -> None:
    one, other = method.predict_batch([PICTURE, PICTURE], vocabulary, tasks=["semantic"])
    stages = {"text", "preprocess", "backbone", "mask_generator", "classifier", "outputs"}
    assert set(one.seconds) == stages
    assert one.seconds == other.seconds
    assert all(seconds > 0 for seconds in one.seconds.values())


def test_two_vocabularies_in_turn_are_as_each_alone(method: FCCLIP, vocabulary: Vocabulary) -> None:
    """Nothing of a prediction is left behind for the next."""
    before = {key: value.clone() for key, value in method.state_dict().items()}
    one, other = vocabulary, ["truck", "stuff:water|sea"]
    first, second = method.predict(PICTURE, one), method.predict(PICTURE, other)
    assert_same(method.predict(PICTURE, one), first)
    assert_same(method.predict(PICTURE, other), second)
    assert len(second.vocabulary) == 2
    assert not torch.equal(first.semantic, second.semantic)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


@pytest.mark.parametrize(
    ("setting", "tasks", "same_as"),
    [
        ("auto", ("semantic",), "scores"),
        ("auto", ("semantic", "panoptic"), "masks"),
        ("auto", ("semantic", "instance"), "masks"),
        ("auto", TASKS, "masks"),
        ("masks", ("semantic",), "masks"),
        ("scores", TASKS, "scores"),
    ],
)
def test_the_order_of_resizing(
    method: FCCLIP,
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    tasks: tuple[str, ...],
    same_as: str,
) -> None:
    """The official order follows from the tasks; told apart by a picture where both give different pixels."""
    picture = scene(150, 200, 4)

    def semantic(choice: str, chosen: tuple[str, ...]) -> torch.Tensor:
        monkeypatch.setattr(method, "semantic_resize", choice)
        return method.predict(picture, vocabulary, tasks=chosen).semantic

    expected, other = (
        semantic(same_as, ("semantic",)),
        semantic({"masks": "scores", "scores": "masks"}[same_as], tasks),
    )
    assert not torch.equal(expected, other)
    assert torch.equal(semantic(setting, tasks), expected)


@pytest.mark.parametrize(
    ("setting", "tasks", "has_stuff"),
    [
        ("auto", ("instance",), True),
        ("auto", ("semantic", "instance"), True),
        ("auto", ("panoptic", "instance"), False),
        ("auto", TASKS, False),
        ("keep", TASKS, True),
        ("drop", ("instance",), False),
    ],
)
def test_stuff_among_instances(
    method: FCCLIP,
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    tasks: tuple[str, ...],
    has_stuff: bool,
) -> None:
    monkeypatch.setattr(method, "stuff_instances", setting)
    instances = method.predict(PICTURE, vocabulary, tasks=tasks).instances
    things = [vocabulary.classes[label].is_thing for label in instances.labels.tolist()]
    assert any(things)
    assert (not all(things)) == has_stuff


def test_thresholds_reach_the_views(vocabulary: Vocabulary) -> None:
    settings = {"short_side": 64, "long_side": 160}
    loose = build(overlap_threshold=0.0, **settings).predict(PICTURE, vocabulary)
    strict = build(overlap_threshold=1.0, instances_per_image=5, **settings).predict(PICTURE, vocabulary)
    none = build(object_mask_threshold=1.0, **settings).predict(PICTURE, vocabulary)
    assert len(loose.panoptic.segments) > len(strict.panoptic.segments)
    assert none.panoptic.segments == ()
    assert len(loose.instances.scores) > len(strict.instances.scores)
    assert len(strict.instances.scores) <= 5


@pytest.mark.parametrize("name", ["coco_panoptic", "voc_20"])
def test_seen_classes_are_those_of_the_training_vocabulary(name: str, vocabulary: Vocabulary) -> None:
    method = build(training_vocabulary=name)
    names = set(load_vocabulary(name).synonyms)
    expected = [bool(names & set(entry.names)) for entry in vocabulary.classes]
    assert method.embed(method.backbone, vocabulary).is_seen.tolist() == expected
    assert any(expected)


def test_vocabularies_without_templates_get_the_14_of_vild(vocabulary: Vocabulary) -> None:
    method = build()
    own = Vocabulary("own", vocabulary.classes, ("{}",))
    default, plain = (method.embed(method.backbone, given).rows for given in (vocabulary, own))
    assert len(method._templates) == 14
    assert not torch.allclose(default, plain, atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "gain", "dtype"),
    [("fp32", 9.0, "float32"), ("bf16", 9.0, "bfloat16"), ("bf16", 0.5, "float32")],
)
def test_the_precision_is_the_image_tower_s(
    monkeypatch: pytest.MonkeyPatch, asked: str, gain: float, dtype: str
) -> None:
    chosen: list[torch.dtype] = []
    monkeypatch.setattr(precision, "bf16_gain", lambda threads: gain)
    monkeypatch.setattr(FrozenClip, "set_image_dtype", lambda self, dtype: chosen.append(dtype))
    golden_method("tiny").prepare(device=torch.device("cpu"), precision=asked)
    assert chosen == [getattr(torch, dtype)]


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match=r"fp16 runs on GPUs only\. On a CPU say runtime\.precision=bf16"):
        golden_method("tiny").prepare(device=torch.device("cpu"), precision="fp16")
