"""SAM as a mask generator against the package's predictor, on seeded weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.scene import scene
from segment_anything import SamPredictor
from segment_anything import modeling as package
from torch import nn

from ovseg.build import build_component
from ovseg.errors import ConfigError, WeightsError
from ovseg.interfaces import MaskGenerator, Pretrained, PromptableMaskGenerator
from ovseg.models.sam.architecture import build_parts, sam_size
from ovseg.models.sam.build import sam
from ovseg.models.sam.prompted import CPU_PROMPTS, Sam
from ovseg.types import MaskPrompts

TINY = {
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "global_attn": [0, 2],
    "prompt_dim": 32,
    "dec_mlp": 16,
    "dec_heads": 4,
    "image_size": 160,
}
IMAGE = scene(97, 130, 3)


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="module")
def checkpoint(architecture: Path) -> Path:
    torch.manual_seed(1)
    model = package.Sam(*build_parts(sam_size(str(architecture))))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    path = architecture.with_name("tiny.pth")
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def make(architecture: Path, checkpoint: Path):
    """The generator, built and filled as `weights=parts` does it."""

    def build(**options: str) -> Sam:
        node = {"name": "sam", "architecture": str(architecture), "checkpoint": str(checkpoint), **options}
        with torch.device("meta"):
            made = build_component("mask_generators", node)
        made.load_weights(Path(made.weights_name))
        return made

    return build


@pytest.fixture
def predictor(architecture: Path, checkpoint: Path) -> SamPredictor:
    model = package.Sam(*build_parts(sam_size(str(architecture)))).eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    made = SamPredictor(model)
    made.set_image(IMAGE)
    return made


def prompts(count: int) -> MaskPrompts:
    corners = torch.rand(count, 2) * 60
    boxes = torch.cat([corners, corners + 50], 1)
    masks = torch.rand(3, 40, 40)[torch.arange(count) % 3] * 0.005  # classes share their masks
    return MaskPrompts(points=corners + 20, boxes=boxes, masks=masks)


def answered(
    predictor: SamPredictor, given: MaskPrompts, masks: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The package's answer, with masks as it is handed them."""
    points = None if given.points is None else given.points[:, None]
    labels = None if points is None else torch.ones(len(points), 1)
    _, scores, logits = predictor.predict_torch(points, labels, given.boxes, masks, multimask_output=False)
    return logits[:, 0], scores[:, 0]


def near(ours: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((ours - expected).abs().max() < 5e-5 * expected.abs().max())


def test_follows_its_interfaces(make, architecture: Path) -> None:
    made = make()
    assert isinstance(made, PromptableMaskGenerator)
    assert isinstance(made, MaskGenerator)
    assert isinstance(made, Pretrained)
    assert sam(architecture=str(architecture), checkpoint=None).weights_name is None
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_encode_is_set_image(make, predictor: SamPredictor) -> None:
    features = make().encode(IMAGE)
    assert near(features.dense, predictor.features)
    assert features.pyramid[16] is features.dense
    assert features.image_size == predictor.input_size == (119, 160)
    assert features.last_attention.grid == (10, 10)
    assert features.last_attention.valid == (7, 10)


@pytest.mark.parametrize("size", [(1, 1), (4, 400), (400, 4), (64, 640)])
def test_pictures_of_odd_sizes(make, predictor: SamPredictor, size: tuple[int, int]) -> None:
    image = np.tile(scene(64, 64, 1), (10, 10, 1))[: size[0], : size[1]]
    predictor.set_image(image)
    features = make().encode(image)
    assert near(features.dense, predictor.features)
    assert min(features.last_attention.valid) >= 1


def test_a_picture_keeps_nothing_of_the_one_before(make) -> None:
    made = make()
    first = made.encode(IMAGE).dense
    made.encode(scene(64, 80, 1))
    assert torch.equal(made.encode(IMAGE).dense, first)


@pytest.mark.parametrize("what", [("points",), ("boxes",), ("points", "boxes")])
def test_points_and_boxes(make, predictor: SamPredictor, what: tuple[str, ...]) -> None:
    made, count = make(), CPU_PROMPTS + 1
    given = MaskPrompts(**{key: getattr(prompts(count), key) for key in what})
    proposals = made(made.encode(IMAGE), given)
    logits, scores = answered(predictor, given, None)
    assert proposals.logits.shape == (1, count, 40, 40)
    assert near(proposals.logits[0], logits)
    assert near(proposals.scores[0], scores)


def test_official_mask_prompts_have_no_batch_dimension(make, predictor: SamPredictor) -> None:
    made, given = make(), prompts(7)
    proposals = made(made.encode(IMAGE), given)
    for index in range(7):
        one = MaskPrompts(points=given.points[index : index + 1], boxes=given.boxes[index : index + 1])
        logits, scores = answered(predictor, one, given.masks[index : index + 1])
        assert near(proposals.logits[0, index : index + 1], logits)
        assert near(proposals.scores[0, index : index + 1], scores)


def test_batched_mask_prompts_are_something_else(make, predictor: SamPredictor) -> None:
    made, given = make(mask_prompt="batched"), prompts(7)
    features = made.encode(IMAGE)
    proposals = made(features, given)
    logits, scores = answered(predictor, given, given.masks[:, None])
    assert near(proposals.logits[0], logits)
    assert near(proposals.scores[0], scores)
    official = make()(features, given)
    assert (official.logits - proposals.logits).abs().max() > 0.05 * logits.abs().max()


@pytest.mark.parametrize("mask_prompt", ["official", "batched"])
def test_masks_alone(make, mask_prompt: str) -> None:
    made = make(mask_prompt=mask_prompt)
    proposals = made(made.encode(IMAGE), MaskPrompts(masks=prompts(5).masks * 1000))
    assert proposals.logits.shape == (1, 5, 40, 40)
    assert torch.allclose(proposals.logits[0, 0], proposals.logits[0, 3], atol=1e-4)
    assert not torch.allclose(proposals.logits[0, 0], proposals.logits[0, 1], atol=1e-4)


def test_no_prompts_of_a_kind_that_was_given(make) -> None:
    made = make()
    proposals = made(made.encode(IMAGE), MaskPrompts(points=torch.zeros(0, 2)))
    assert proposals.logits.shape == (1, 0, 40, 40)
    assert proposals.scores.shape == (1, 0)


def test_enlarged_masks_are_those_of_the_predictor(make, predictor: SamPredictor) -> None:
    made, given = make(), prompts(3)
    features = made.encode(IMAGE)
    masks = made.enlarge(made(features, given).logits[0], features, IMAGE.shape[:2])
    expected = torch.cat(
        [
            predictor.predict_torch(
                point[None, None], torch.ones(1, 1), box[None], mask[None], False, return_logits=True
            )[0][0]
            for point, box, mask in zip(given.points, given.boxes, given.masks, strict=True)
        ]
    )
    assert near(masks, expected)


def test_without_prompts(make) -> None:
    made = make()
    with pytest.raises(ConfigError, match=r"gives it none\. Choose model/mask_generator=sam_automatic"):
        made(made.encode(IMAGE))


def test_bf16_pictures_and_float32_prompts(make) -> None:
    made = make()
    exact = made.encode(IMAGE).dense
    made.set_image_dtype(torch.bfloat16)
    features = made.encode(IMAGE)
    assert features.dense.dtype == torch.float32
    assert {p.dtype for p in (*made.prompt_encoder.parameters(), *made.mask_decoder.parameters())} == {
        torch.float32
    }
    assert 0 < (features.dense - exact).abs().mean() < 0.03 * exact.abs().mean()
    assert made(features, prompts(2)).logits.dtype == torch.float32


def test_every_weight_of_the_file_arrives(make, checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    filled = make().state_dict()
    assert filled.keys() == state.keys()
    assert all(torch.equal(filled[key], state[key]) for key in state)


@pytest.mark.parametrize("broken", ["lacks a key", "has another key"])
def test_loading_is_strict(make, checkpoint: Path, tmp_path: Path, broken: str) -> None:
    state = torch.load(checkpoint, weights_only=True)
    if broken == "lacks a key":
        del state["mask_decoder.iou_token.weight"]
    else:
        state["mask_decoder.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(WeightsError, match=r"broken\.pth does not fit Sam"):
        make().load_weights(tmp_path / "broken.pth")
