"""The mask generator as a part: what it asks of a backbone, and what it gives."""

from dataclasses import replace

import pytest
import torch

from ovseg.errors import ConfigError
from ovseg.interfaces import MaskGenerator
from ovseg.models.fcclip.mask_generator import Mask2Former
from ovseg.types import BackboneSpec, Features

SPEC = BackboneSpec(
    channels={4: 3, 8: 5, 16: 6, 32: 7},
    dense_channels=7,
    embed_dim=4,
    pixel_mean=(0.0, 0.0, 0.0),
    pixel_std=(1.0, 1.0, 1.0),
)


def generator(**changes: int) -> Mask2Former:
    sizes = {
        "hidden_dim": 32,
        "queries": 5,
        "heads": 2,
        "points": 2,
        "encoder_layers": 1,
        "encoder_ffn": 16,
        "decoder_layers": 4,
        "decoder_ffn": 16,
    }
    return Mask2Former(backbone=SPEC, **(sizes | changes))


def features(batch: int = 2, height: int = 64, width: int = 96) -> Features:
    pyramid = {
        stride: torch.randn(batch, channels, height // stride, width // stride)
        for stride, channels in SPEC.channels.items()
    }
    return Features(pyramid=pyramid, dense=pyramid[32], image_size=(height, width))


def test_proposals() -> None:
    made = generator().eval()
    assert isinstance(made, MaskGenerator)
    with torch.no_grad():
        proposals = made(features())
    assert proposals.logits.shape == (2, 5, 16, 24)
    assert proposals.queries is not None
    assert proposals.queries.shape == (2, 5, 32)
    assert proposals.pixel_features is not None
    assert proposals.pixel_features.shape == (2, 32, 16, 24)
    assert proposals.scores is None


def test_earlier_proposals_in_training_only() -> None:
    """One before each layer; the last ones are the result itself."""
    made, given = generator(), features()
    training = made.train()(given)
    assert len(training.earlier) == 4
    assert all(proposals.logits.shape == (2, 5, 16, 24) for proposals in training.earlier)
    assert all(proposals.logits.requires_grad for proposals in training.earlier)
    evaluated = made.eval()(given)
    assert evaluated.earlier == ()
    assert torch.equal(evaluated.logits, training.logits)


def test_gradients_reach_every_parameter() -> None:
    made = generator().train()
    proposals = made(features())
    total = sum(each.logits.square().mean() for each in (*proposals.earlier, proposals))
    total.backward()
    assert [name for name, parameter in made.named_parameters() if parameter.grad is None] == []


def test_with_and_without_gradients_it_is_the_same() -> None:
    """Two implementations of most layers."""
    made, given = generator().eval(), features(height=128, width=192)
    before = {stride: value.clone() for stride, value in given.pyramid.items()}
    with_gradients = made(given)
    with torch.no_grad():
        without = made(given)
    assert torch.allclose(with_gradients.logits, without.logits, atol=1e-3)
    assert all(torch.equal(given.pyramid[stride], value) for stride, value in before.items())


def test_pictures_of_a_batch_do_not_meet() -> None:
    made, given = generator().eval(), features()
    with torch.no_grad():
        together = made(given)
        for index in range(2):
            pyramid = {stride: value[index : index + 1] for stride, value in given.pyramid.items()}
            alone = made(replace(given, pyramid=pyramid, dense=pyramid[32]))
            assert torch.allclose(alone.logits[0], together.logits[index], atol=1e-4)


def test_a_picture_of_one_cell() -> None:
    with torch.no_grad():
        assert generator().eval()(features(1, 32, 32)).logits.shape == (1, 5, 8, 8)


@pytest.mark.parametrize("changes", [{"hidden_dim": 40}, {"hidden_dim": 32, "heads": 3}])
def test_sizes_that_do_not_divide(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as error:
        generator(**changes)
    assert str(error.value) == (
        f"mask2former: hidden_dim={changes['hidden_dim']} must be a multiple of 32 and of "
        f"heads={changes.get('heads', 2)}."
    )


def test_a_backbone_without_the_strides() -> None:
    with pytest.raises(ConfigError) as error:
        Mask2Former(backbone=replace(SPEC, channels={8: 5, 16: 6}))
    assert str(error.value) == (
        "mask2former needs a backbone with strides 4, 8, 16 and 32; this one lacks [4, 32]."
    )
