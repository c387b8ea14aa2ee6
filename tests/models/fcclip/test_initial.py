"""The weights that training from scratch starts with."""

import math

import pytest
import torch

from ovseg.models.fcclip.attention import MultiHeadAttention
from ovseg.models.fcclip.deformable_attention import DeformableAttention
from ovseg.models.fcclip.mask_decoder import DecoderLayer
from ovseg.models.fcclip.pixel_decoder import EncoderLayer, NormedConv, PixelDecoder


def uniform_bound(weight: torch.Tensor) -> float:
    return float(weight.detach().abs().max())


def xavier_bound(inputs: int, outputs: int) -> float:
    return math.sqrt(6 / (inputs + outputs))


def test_deformable_attention_looks_along_a_star() -> None:
    attention = DeformableAttention(dim=64, heads=4, levels=2, points=3)
    assert not attention.sampling_offsets.weight.any()
    places = attention.sampling_offsets.bias.detach().view(4, 2, 3, 2)  # head, level, point, (x, y)
    for head, direction in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        for point in range(3):
            expected = torch.tensor(direction) * (point + 1.0)
            assert torch.allclose(places[head, :, point], expected.expand(2, -1), atol=1e-6)
    assert not attention.attention_weights.weight.any()
    assert not attention.attention_weights.bias.any()
    assert not attention.value_proj.bias.any()
    assert uniform_bound(attention.value_proj.weight) == pytest.approx(xavier_bound(64, 64), rel=0.02)
    diagonal = DeformableAttention(dim=64, heads=8).sampling_offsets.bias.detach().view(8, 3, 4, 2)
    assert torch.allclose(diagonal[1, 0, 2], torch.tensor([3.0, 3.0]))


def test_transformer_layers() -> None:
    encoder = EncoderLayer(dim=32, heads=2, levels=3, points=1, ffn=128)
    decoder = DecoderLayer(dim=32, heads=2, ffn=128)
    for layer in (encoder, decoder):
        assert uniform_bound(layer.linear1.weight) == pytest.approx(xavier_bound(32, 128), rel=0.02)
        assert layer.linear1.bias.any()
    attention = MultiHeadAttention(dim=32, heads=2)
    assert not attention.out_proj.bias.any()
    assert uniform_bound(attention.out_proj.weight) == pytest.approx(xavier_bound(32, 32), rel=0.03)


def test_convolutions() -> None:
    conv = NormedConv(64, 32, kernel=3, relu=True).conv
    assert uniform_bound(conv.weight) == pytest.approx(math.sqrt(3 / (64 * 9)), rel=0.02)
    decoder = PixelDecoder(
        channels={4: 8, 8: 16, 16: 32, 32: 64}, dim=32, heads=2, points=1, layers=1, ffn=16
    )
    assert uniform_bound(decoder.input_proj[0][0].weight) == pytest.approx(xavier_bound(64, 32), rel=0.02)
    assert not decoder.input_proj[0][0].bias.any()
    assert uniform_bound(decoder.mask_features.weight) == pytest.approx(math.sqrt(3 / 32), rel=0.03)
    assert not decoder.mask_features.bias.any()
