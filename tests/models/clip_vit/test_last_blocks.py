"""Each last block against its rule, written out head by head in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.interfaces import LastBlock
from ovseg.models.clip_vit.last_blocks import (
    CorrelativeAttention,
    NeighbourAttention,
    SelfAttention,
    ValuePath,
    gaussian_nearness,
)
from ovseg.registry import LAST_BLOCKS

WIDTH, HEADS, GRID = 24, 3, (3, 4)
IMAGES = torch.zeros(2, 3, 48, 64)


@pytest.fixture(params=[nn.GELU, QuickGELU])
def block(request: pytest.FixtureRequest) -> ResidualAttentionBlock:
    made = ResidualAttentionBlock(WIDTH, HEADS, act_layer=request.param)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 1 + GRID[0] * GRID[1], WIDTH)


class Naive:
    """The block's parts in float64, one head after another."""

    def __init__(self, block: ResidualAttentionBlock, tokens: Tensor) -> None:
        self.block = block.double()
        self.x = tokens.double()
        normed = self.block.ln_1(self.x)
        weight, bias = self.block.attn.in_proj_weight, self.block.attn.in_proj_bias
        self.q, self.k, self.v = (
            (normed @ w.T + b).split(WIDTH // HEADS, -1)
            for w, b in zip(weight.chunk(3), bias.chunk(3), strict=True)
        )

    def out(self, weights: list[Tensor]) -> Tensor:
        """Values summed by each head's weights (b, n, n), joined and projected."""
        heads = [w @ v for w, v in zip(weights, self.v, strict=True)]
        return self.block.attn.out_proj(torch.cat(heads, -1))

    def likeness(self, a: tuple[Tensor, ...]) -> list[Tensor]:
        return [h @ h.transpose(1, 2) / math.sqrt(WIDTH // HEADS) for h in a]

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.block.mlp(self.block.ln_2(x))


def run(last_block: LastBlock, block: nn.Module, tokens: Tensor) -> Tensor:
    """The map as tokens (b, h w, c)."""
    before = tokens.clone()
    found = last_block(block, tokens, GRID, IMAGES)
    assert torch.equal(tokens, before)
    assert found.shape == (2, WIDTH, *GRID)
    assert found.dtype == torch.float32
    return found.flatten(2).transpose(1, 2)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected[:, -found.shape[1] :]).abs().max() < 2e-5 * expected.abs().max()


def test_self_attention_is_the_block_itself(block: ResidualAttentionBlock, tokens: Tensor) -> None:
    assert_close(run(SelfAttention(), block, tokens), block(tokens))


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("feed_forward", [True, False])
def test_value(block: ResidualAttentionBlock, tokens: Tensor, residual: bool, feed_forward: bool) -> None:
    found = run(ValuePath(residual=residual, feed_forward=feed_forward), block, tokens)
    naive = Naive(block, tokens)
    expected = naive.block.attn.out_proj(torch.cat(naive.v, -1))
    if residual:
        expected = expected + naive.x
    if feed_forward:
        expected = expected + naive.feed_forward(expected)
    assert_close(found, expected)


def test_value_is_maskclip_s_by_default() -> None:
    assert (ValuePath().residual, ValuePath().feed_forward) == (True, True)


def test_correlative(block: ResidualAttentionBlock, tokens: Tensor) -> None:
    found = run(CorrelativeAttention(), block, tokens)
    naive = Naive(block, tokens)
    pairs = zip(naive.likeness(naive.q), naive.likeness(naive.k), strict=True)
    x = naive.x + naive.out([q.softmax(-1) + k.softmax(-1) for q, k in pairs])
    assert_close(found, x + naive.feed_forward(x))


@pytest.mark.parametrize("std", [5.0, 0.7])
def test_neighbour(block: ResidualAttentionBlock, tokens: Tensor, std: float) -> None:
    found = run(NeighbourAttention(std=std), block, tokens)
    naive = Naive(block, tokens)
    added = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.float64)
    places = [(y, x) for y in range(GRID[0]) for x in range(GRID[1])]
    for i, a in enumerate(places, start=1):
        for j, b in enumerate(places, start=1):
            added[i, j] = math.exp(-(math.dist(a, b) ** 2) / (2 * std**2))
    assert_close(found, naive.out([(k + added).softmax(-1) for k in naive.likeness(naive.k)]))


def test_nearness_falls_from_one_with_the_distance() -> None:
    nearness = gaussian_nearness((2, 3), 5.0, device=torch.device("cpu"))
    assert torch.allclose(nearness.diagonal(), torch.ones(6))
    assert float(nearness[0, 5]) == pytest.approx(math.exp(-(1 + 4) / 50))


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_a_std_that_is_not_positive(std: float) -> None:
    with pytest.raises(ConfigError, match=r"last block neighbour: std=.* must be above 0 tokens"):
        NeighbourAttention(std=std)


def test_bf16_weights_give_float32_maps(block: ResidualAttentionBlock, tokens: Tensor) -> None:
    for make in (SelfAttention, ValuePath, CorrelativeAttention, NeighbourAttention):
        exact = run(make(), block, tokens)
        for part in (block.attn, block.mlp):
            part.to(torch.bfloat16)
        rough = run(make(), block, tokens)
        assert 0 < F.mse_loss(rough, exact) < 1e-3 * exact.var()
        block.float()


def test_all_are_registered() -> None:
    assert {"self_attention", "value", "correlative", "neighbour", "proxy"} <= set(LAST_BLOCKS.names())
    for name in ("self_attention", "value", "correlative", "neighbour"):
        assert isinstance(LAST_BLOCKS.get(name)(), LastBlock)
