"""The pieces of plain vision transformers against torch's own modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ovseg.errors import ConfigError
from ovseg.models.common import vit
from ovseg.models.common.vit import (
    BlockLayers,
    as_map,
    attend,
    embed,
    grid_of,
    query_key_value,
    run_block,
    set_matrix_dtype,
    values,
)


def layers_of(block: nn.TransformerEncoderLayer) -> BlockLayers:
    attention = block.self_attn
    return BlockLayers(
        norm1=block.norm1,
        qkv=(attention.in_proj_weight, attention.in_proj_bias),
        out=(attention.out_proj.weight, attention.out_proj.bias),
        norm2=block.norm2,
        up=(block.linear1.weight, block.linear1.bias),
        down=(block.linear2.weight, block.linear2.bias),
        heads=attention.num_heads,
        activation="gelu",
    )


@pytest.fixture
def block() -> nn.TransformerEncoderLayer:
    made = nn.TransformerEncoderLayer(
        24, 3, 48, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.requires_grad_(False)


@pytest.mark.parametrize("pictures_at_once", [1, 2, 3])
def test_a_block_is_torch_s_pre_norm_encoder_layer(
    block: nn.TransformerEncoderLayer, pictures_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "ROWS_AT_ONCE", pictures_at_once * 7)
    x = torch.randn(3, 7, 24)
    expected = block(x)
    run_block(layers_of(block), x)
    assert torch.allclose(x, expected, atol=1e-5)


def test_a_block_refuses_tokens_that_lie_apart(block: nn.TransformerEncoderLayer) -> None:
    with pytest.raises(RuntimeError, match="view"):
        run_block(layers_of(block), torch.randn(2, 24, 7).transpose(1, 2))


@pytest.mark.parametrize("heads_at_once", [1, 2, 3])
def test_attention_in_bf16_is_that_of_the_fused_kernel(
    heads_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = torch.randn(3, 2, 3, 7, 8).bfloat16()
    monkeypatch.setattr(vit, "LOGITS_AT_ONCE", heads_at_once * 7**2)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    found = attend(q, k, v)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), exact, atol=0.03)
    assert found.transpose(1, 2).is_contiguous()  # heads lie side by side, as the projection reads them


def test_values_alone_are_those_of_the_attention(block: nn.TransformerEncoderLayer) -> None:
    x = torch.randn(2, 7, 24)
    _, _, v = query_key_value(layers_of(block), x)
    assert torch.allclose(values(layers_of(block), x), v.transpose(1, 2).flatten(2), atol=1e-6)


def test_tokens_before_the_first_block() -> None:
    patches, images = nn.Conv2d(3, 6, 4, 4), torch.randn(2, 3, 8, 12)
    positions, cls = torch.randn(7, 6), torch.randn(1, 1, 6)
    with torch.no_grad():
        tokens = embed(images, patches, positions, cls)
        weight = patches.weight.flatten(1)
        for row in range(2):
            for column in range(3):
                pixels = images[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten(1)
                number = 1 + 3 * row + column
                expected = pixels @ weight.T + patches.bias + positions[number]
                assert torch.allclose(tokens[:, number], expected, atol=1e-5)
    assert torch.equal(tokens[:, 0], (cls[0] + positions[:1]).expand(2, -1))


def test_a_map_is_read_row_by_row() -> None:
    tokens = torch.arange(12.0).reshape(1, 6, 2)
    found = as_map(tokens, (2, 3))
    assert found.shape == (1, 2, 2, 3)
    assert found[0, 0].tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]


def test_the_grid_of_patches() -> None:
    assert grid_of(torch.zeros(1, 3, 28, 42), 14, encoder="CLIP") == (2, 3)
    with pytest.raises(ConfigError) as error:
        grid_of(torch.zeros(1, 3, 30, 5), 14, encoder="CLIP")
    assert str(error.value).endswith("given 30 x 5. Both sides must be multiples of 14, for example 28 x 14.")


def test_only_matrices_change_their_number_format(block: nn.TransformerEncoderLayer) -> None:
    set_matrix_dtype(block, torch.bfloat16)
    formats = {name: parameter.dtype for name, parameter in block.named_parameters()}
    assert {name for name, dtype in formats.items() if dtype == torch.float32} == {
        "norm1.weight",
        "norm1.bias",
        "norm2.weight",
        "norm2.bias",
    }
