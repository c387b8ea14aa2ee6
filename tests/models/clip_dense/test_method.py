"""The order of parts, with a backbone whose vectors are the colours of the patches."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ovseg.errors import ConfigError, WeightsError
from ovseg.interfaces import Backbone, Method
from ovseg.models.clip_dense.method import ClipDense, pad_to_window
from ovseg.models.common.cosine import CosineClassifier
from ovseg.models.common.text import TextCache
from ovseg.types import NOTHING, TASKS, BackboneSpec, Features
from ovseg.vocabulary import ClassEntry, Vocabulary

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
VOCABULARY = Vocabulary(
    "colours",
    (
        ClassEntry(("green",), is_thing=False),
        ClassEntry(("crimson", "red")),
        ClassEntry(("blue",)),
    ),
    templates=("{}",),
)
PATCH = 4


class Colours(torch.nn.Module):
    """Text and patches live in the space of colours; white is near to all."""

    spec = BackboneSpec(
        channels={PATCH: 3},
        dense_channels=3,
        embed_dim=3,
        pixel_mean=(100.0, 90.0, 80.0),
        pixel_std=(50.0, 60.0, 70.0),
    )
    weights_name = None

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []
        self.dtype = None

    def forward(self, images):
        self.batches.append(tuple(images.shape))
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.spec.pixel_mean, self.spec.pixel_std))
        dense = F.avg_pool2d((images * std + mean) / 255, PATCH) + 0.01
        return Features({PATCH: dense}, dense, tuple(images.shape[-2:]), images=images)

    def project(self, vectors):
        return vectors

    def pool(self, features, masks):
        raise NotImplementedError

    def encode_text(self, prompts):
        return torch.tensor([COLOURS.get(prompt, (0.5, 0.0, 0.5)) for prompt in prompts])

    def text_fingerprint(self):
        return "colours"

    def text_logit_scale(self):
        return 100.0

    def load_weights(self, path):
        raise NotImplementedError

    def set_image_dtype(self, dtype):
        self.dtype = dtype


def build(**settings) -> ClipDense:
    sizes = {"short_side": 32, "long_side": 128, "window": 16, "stride": 8, "min_area": 0}
    return ClipDense(
        backbone=Colours(),
        classifier=CosineClassifier(),
        text_cache=TextCache(None),
        **{**sizes, **settings},
    ).eval()


def picture(height=32, width=64):
    """Green, with a red square on the left and two blue ones on the right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1] = 255
    for colour, rows, columns in (
        (0, (0.25, 0.75), (0.125, 0.375)),
        (2, (0.0, 0.25), (0.75, 1.0)),
        (2, (0.5, 1.0), (0.625, 1.0)),
    ):
        top, bottom = (int(height * share) for share in rows)
        left, right = (int(width * share) for share in columns)
        image[top:bottom, left:right] = np.eye(3)[colour] * 255
    return image


def truth(image):
    return torch.tensor([1, 0, 2])[torch.from_numpy(image.argmax(-1))]


def test_it_is_a_method_of_parts():
    method = build()
    assert isinstance(method, Method)
    assert isinstance(method.backbone, Backbone)
    assert method.device == torch.device("cpu")
    method.prepare(device=torch.device("cpu"), precision="fp32")
    assert method.backbone.dtype == torch.float32


def test_patches_are_named_by_their_colour():
    method = build()
    prediction = method.predict(picture(), VOCABULARY)
    expected = truth(picture())
    wrong = prediction.semantic != expected
    assert wrong.double().mean() < 0.1  # borders, where windows are interpolated
    assert method.backbone.batches == [(21, 3, 16, 16)]  # 3 x 7 windows of one picture at once
    assert [(s.label, s.is_thing) for s in prediction.panoptic.segments] == [
        (0, False),
        (1, True),
        (2, True),
        (2, True),
    ]
    for segment in prediction.panoptic.segments:
        inside = prediction.panoptic.ids == segment.id
        assert (prediction.semantic[inside] == segment.label).all()
        assert segment.area == int(inside.sum())
        assert 0.5 < segment.score <= 1
    assert sorted(prediction.instances.labels.tolist()) == [1, 2, 2]
    assert set(prediction.seconds) == {"text", "preprocess", "backbone", "classifier", "outputs"}


def test_synonyms_are_one_class():
    """Purple is nearest to what stands for crimson, which is a name of class 1."""
    image = np.full((32, 32, 3), (128, 0, 128), np.uint8)
    assert (build().predict(image, VOCABULARY).semantic == 1).all()


@pytest.mark.parametrize(("setting", "label"), [("first_class", 0), ("nothing", NOTHING)])
def test_pixels_below_the_threshold_are_given_up(setting, label):
    image = np.full((32, 64, 3), (0, 250, 255), np.uint8)  # a little nearer to blue than to green
    image[:, 32:] = (0, 0, 255)
    method = build(prob_threshold=0.6, below_threshold=setting, logit_scale=20.0)
    prediction = method.predict(image, VOCABULARY)
    assert (prediction.semantic[:, :24] == label).all()
    assert (prediction.semantic[:, 44:] == 2).all()
    assert prediction.instances.labels.tolist() == [2]
    assert not prediction.instances.masks[0, :, :24].any()
    assert (build(logit_scale=20.0).predict(image, VOCABULARY).semantic == 2).all()


def test_views_that_were_not_asked_for_are_not_made():
    for task in TASKS:
        prediction = build().predict(picture(), VOCABULARY, tasks=[task])
        made = [prediction.semantic, prediction.panoptic, prediction.instances]
        assert [view is not None for view in made] == [task == other for other in TASKS]


def test_small_things_and_few_instances():
    prediction = build(min_area=200).predict(picture(), VOCABULARY)
    assert all(segment.area >= 200 for segment in prediction.panoptic.segments)
    assert len(prediction.instances.scores) < 3
    first = build(instances_per_image=1).predict(picture(), VOCABULARY)
    every = build().predict(picture(), VOCABULARY)
    assert first.instances.scores.tolist() == [max(every.instances.scores.tolist())]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (20, 200), (400, 40), (1, 90), (33, 47)])
def test_pictures_of_any_shape(size):
    image = picture(*size)
    prediction = build().predict(image, VOCABULARY)
    assert prediction.image_size == size
    assert prediction.semantic.shape == prediction.panoptic.ids.shape == size
    assert set(prediction.semantic.unique().tolist()) <= {0, 1, 2}
    assert prediction.instances.masks.shape[1:] == size
    if size == (1, 1):
        assert prediction.semantic.tolist() == [[2]]


def test_a_batch_gives_what_single_pictures_give():
    method = build()
    images = [picture(), picture(50, 40), picture()[:, ::-1]]
    together = method.predict_batch(images, VOCABULARY, tasks=TASKS)
    for image, one in zip(images, together, strict=True):
        alone = method.predict(image, VOCABULARY)
        assert torch.equal(one.semantic, alone.semantic)
        assert torch.equal(one.panoptic.ids, alone.panoptic.ids)
        assert torch.equal(one.instances.scores, alone.instances.scores)


def test_small_pictures_are_padded_with_the_mean_colour():
    padded = pad_to_window(torch.ones(2, 3, 5, 8), 8)
    assert padded.shape == (2, 3, 8, 8)
    assert (padded[..., :5, :] == 1).all()
    assert not padded[..., 5:, :].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_side": 0}, "short_side=0 must be in 1..long_side=128."),
        ({"short_side": 200}, "short_side=200 must be in 1..long_side=128."),
        ({"stride": 17}, "stride=17 must be in 1..window=16."),
        ({"stride": 0}, "stride=0 must be in 1..window=16."),
        ({"logit_scale": 0.0}, "logit_scale=0.0 must be above 0."),
        ({"prob_threshold": 1.5}, "prob_threshold=1.5 must be in 0..1."),
        ({"min_area": -1}, "min_area=-1 must be 0 or more, and instances_per_image=100 at least 1."),
        ({"instances_per_image": 0}, "min_area=0 must be 0 or more, and instances_per_image=0 at least 1."),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError) as error:
        build(**settings)
    assert str(error.value) == f"clip_dense: {message}"


def test_a_file_of_all_parts(tmp_path):
    method = build()
    torch.save({"backbone.weight": torch.tensor([2.0])}, tmp_path / "w.pt")
    method.load_weights(tmp_path / "w.pt")
    assert method.backbone.weight.tolist() == [2.0]
    torch.save({"weight": torch.tensor([2.0])}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"backbone\.weight"):
        method.load_weights(tmp_path / "w.pt")
