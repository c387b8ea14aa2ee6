"""What every method shares, on a method that only keeps what it is asked."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from golden.scene import scene
from torch import nn

from ovseg.errors import ConfigError, DataError, VocabularyError, WeightsError
from ovseg.interfaces import Method
from ovseg.models.common import method as module
from ovseg.models.common.method import BaseMethod, checked_tasks
from ovseg.models.common.text import TextCache
from ovseg.types import TASKS, Prediction
from ovseg.vocabulary import ClassEntry, Vocabulary

PICTURE = scene(20, 30, 1)


class Keeping(BaseMethod):
    def __init__(self, **shared: object) -> None:
        super().__init__(
            **({"text_cache": TextCache(None), "templates": ["a {}."], "training_names": []} | shared)
        )
        self.calls: list[tuple] = []

    def predict_batch(self, images, vocabulary, *, tasks):
        self.calls.append((images, vocabulary, tasks))
        return [Prediction(vocabulary, image.shape[:2]) for image in images]


class OneHotEncoder:
    """Text space has a dimension per letter; a prompt is the count of its letters."""

    def encode_text(self, prompts):
        return torch.tensor([[float(prompt.count(chr(97 + i))) for i in range(26)] for prompt in prompts])

    def text_fingerprint(self):
        return "letters"


@pytest.fixture
def method() -> Keeping:
    return Keeping()


def test_it_is_a_method(method: Keeping) -> None:
    assert isinstance(method, Method)


@pytest.mark.parametrize("kind", ["path", "string", "pil", "array"])
def test_a_picture_in_any_form(method: Keeping, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.png"
    PIL.Image.fromarray(PICTURE).save(path)
    given = {"path": path, "string": str(path), "pil": PIL.Image.fromarray(PICTURE), "array": PICTURE}[kind]
    prediction = method.predict(given, ["cat"])
    ((images, _, _),) = method.calls
    assert len(images) == 1
    assert np.array_equal(images[0], PICTURE)
    assert prediction.image_size == (20, 30)


def test_a_vocabulary_in_any_form(method: Keeping, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("cat\ndog|puppy\nstuff:grass\n")
    own = Vocabulary(
        "own", (ClassEntry(("cat",)), ClassEntry(("dog", "puppy")), ClassEntry(("grass",), False))
    )
    for given in (own, path, str(path), ["cat", "dog|puppy", "stuff:grass"]):
        vocabulary = method.predict(PICTURE, given).vocabulary
        assert [entry.names for entry in vocabulary.classes] == [("cat",), ("dog", "puppy"), ("grass",)]
        assert [entry.is_thing for entry in vocabulary.classes] == [True, True, False]
    assert len(method.predict(PICTURE, "voc_20").vocabulary) == 20


def test_bad_pictures_and_vocabularies_never_reach_the_method(method: Keeping, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        method.predict(tmp_path / "none.png", ["cat"])
    with pytest.raises(DataError, match="as a picture"):
        method.predict(PICTURE.astype(np.float32), ["cat"])
    with pytest.raises(VocabularyError):
        method.predict(PICTURE, [])
    assert method.calls == []


def test_tasks_are_all_unless_said(method: Keeping) -> None:
    method.predict(PICTURE, ["cat"])
    method.predict(PICTURE, ["cat"], tasks=["instance", "semantic"])
    assert [tasks for _, _, tasks in method.calls] == [TASKS, ("semantic", "instance")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["semantic"], ("semantic",)),
        (["instance", "panoptic", "semantic"], TASKS),
        (["panoptic", "panoptic"], ("panoptic",)),
        (TASKS, TASKS),
    ],
)
def test_tasks_come_in_one_order_without_repeats(given: list[str], expected: tuple[str, ...]) -> None:
    assert checked_tasks(given) == expected


ALLOWED = "Allowed are one or more of semantic, panoptic, instance."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], f"Unknown tasks: none. {ALLOWED}"),
        (["semantic", "instances"], f"Unknown tasks: 'instances'. {ALLOWED}"),
        (["depth", "pose"], f"Unknown tasks: 'depth', 'pose'. {ALLOWED}"),
    ],
)
def test_unknown_tasks(given: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        checked_tasks(given)
    assert str(error.value) == message


def test_a_task_that_was_given_as_a_lone_string() -> None:
    with pytest.raises(ConfigError) as error:
        checked_tasks("semantic")
    assert str(error.value) == "tasks='semantic' is a lone name. Give a list: tasks=['semantic']."


def test_embeddings_follow_templates_and_training_names() -> None:
    method = Keeping(templates=["{}", "{}{}"[:2] + " z"], training_names=("puppy", "horse"))
    own = Vocabulary("own", (ClassEntry(("cat",)), ClassEntry(("dog", "puppy"))))
    text = method.embed(OneHotEncoder(), own)
    assert text.class_of_row.tolist() == [0, 1, 1]
    assert text.is_seen.tolist() == [False, True]
    letters = torch.zeros(26, dtype=torch.float64)
    letters[[0, 2, 19]] = 1  # c, a, t
    with_z = letters.clone()
    with_z[25] = 1
    mean = letters / letters.norm() + with_z / with_z.norm()
    assert torch.allclose(text.rows[0].double(), mean / mean.norm(), atol=1e-6)


class Eye(nn.Linear):
    dtype = None

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


def test_the_precision_is_that_of_every_part_with_eyes(
    method: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    method.backbone, method.classifier = Eye(2, 2), nn.Linear(2, 2)
    method.prepare(device=torch.device("cpu"), precision="fp32")
    assert method.backbone.dtype == torch.float32
    monkeypatch.setattr(module, "compute_dtype", lambda device, precision: torch.bfloat16)
    method.prepare(device=torch.device("cpu"), precision="bf16")
    assert method.backbone.dtype == torch.bfloat16
    assert method.classifier.weight.dtype == torch.float32


def test_a_file_of_all_parts_is_read_strictly(method: Keeping, tmp_path: Path) -> None:
    method.backbone = nn.Linear(2, 2)
    given = {"backbone.weight": torch.ones(2, 2), "backbone.bias": torch.zeros(2)}
    torch.save(given, tmp_path / "all.pth")
    method.load_weights(tmp_path / "all.pth")
    assert torch.equal(method.backbone.weight, torch.ones(2, 2))
    torch.save({"backbone.weight": torch.ones(2, 2)}, tmp_path / "half.pth")
    with pytest.raises(WeightsError, match=r"backbone\.bias"):
        method.load_weights(tmp_path / "half.pth")
