"""Another encoder's likenesses in CLIP's last block, against the rule written out row by row."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from ovseg.models.clip_vit.proxy import ProxyAttention, affinity, renormalise
from ovseg.types import Features, ImageSpec

WIDTH, HEADS = 24, 3


class Encoder:
    """Gives the features that it was made with, and keeps the pictures that it was shown."""

    weights_name = None

    def __init__(self, dense: Tensor) -> None:
        self.dense = dense
        self.spec = ImageSpec(
            channels={16: dense.shape[1]},
            dense_channels=dense.shape[1],
            pixel_mean=(100.0, 110.0, 120.0),
            pixel_std=(50.0, 60.0, 70.0),
        )
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor) -> Features:
        self.seen.append(images)
        return Features(pyramid={16: self.dense}, dense=self.dense, image_size=tuple(images.shape[-2:]))

    def load_weights(self, path: Path) -> None:
        raise AssertionError

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        raise AssertionError


@pytest.fixture
def block() -> ResidualAttentionBlock:
    made = ResidualAttentionBlock(WIDTH, HEADS)
    with torch.no_grad():
        made.attn.in_proj_bias.normal_()
        made.attn.out_proj.bias.normal_()
    return made.eval().requires_grad_(False)


def naive(
    block: ResidualAttentionBlock,
    tokens: Tensor,
    grid: tuple[int, int],
    dense: Tensor,
    beta: float,
    gamma: float,
) -> Tensor:
    """The map (b, c, h, w) in float64, places one after another."""
    unit = F.normalize(dense.double(), dim=1).flatten(2)
    cosines = torch.einsum("bci,bcj->bij", unit, unit)
    bound = beta * cosines.mean()
    w, b = block.attn.in_proj_weight[-WIDTH:].double(), block.attn.in_proj_bias[-WIDTH:].double()
    value = block.ln_1(tokens[:, 1:]).double() @ w.T + b
    value = value.transpose(1, 2).unflatten(2, grid)
    if grid != dense.shape[-2:]:
        value = F.interpolate(value, size=dense.shape[-2:], mode="bilinear", align_corners=False)
    value = value.flatten(2).transpose(1, 2)
    rows = torch.empty_like(value)
    for window in range(len(value)):
        for place in range(value.shape[1]):
            likeness = cosines[window, place]
            near = (likeness - bound >= 0).nonzero()[:, 0]
            weights = ((likeness[near] - bound) * gamma).softmax(0)
            rows[window, place] = weights @ value[window, near]
    out = rows @ block.attn.out_proj.weight.double().T + block.attn.out_proj.bias.double()
    return out.transpose(1, 2).unflatten(2, dense.shape[-2:])


@pytest.mark.parametrize(("beta", "gamma"), [(1.2, 3.0), (0.4, 10.0)])
@pytest.mark.parametrize(("grid", "size"), [((3, 4), (3, 4)), ((4, 5), (3, 4)), ((2, 3), (4, 4))])
def test_proxy(
    block: ResidualAttentionBlock, grid: tuple[int, int], size: tuple[int, int], beta: float, gamma: float
) -> None:
    tokens, dense = torch.randn(3, 1 + grid[0] * grid[1], WIDTH), torch.randn(3, 6, *size) + 0.5
    proxy = ProxyAttention(encoder=Encoder(dense), beta=beta, gamma=gamma)
    found = proxy(block, tokens, grid, torch.zeros(3, 3, 64, 64))
    assert found.shape == (3, WIDTH, *size)
    assert (found - naive(block, tokens, grid, dense, beta, gamma)).abs().max() < 1e-5


def test_the_mean_is_over_all_windows() -> None:
    """A window of one colour raises the bound of the other windows."""
    dense = torch.randn(1, 6, 3, 4)
    alone = ProxyAttention(encoder=Encoder(dense)).scores(affinity(dense)).isfinite().sum()
    both = torch.cat([dense, torch.ones_like(dense)])
    together = ProxyAttention(encoder=Encoder(both)).scores(affinity(both))[0].isfinite().sum()
    assert together < alone


def test_a_place_that_is_like_none_enough_looks_at_itself(block: ResidualAttentionBlock) -> None:
    """Features that are all alike: the mean likeness is 1, and the bound 1.2 is above every likeness."""
    tokens, dense = torch.randn(2, 13, WIDTH), torch.ones(2, 6, 3, 4)
    found = ProxyAttention(encoder=Encoder(dense))(block, tokens, (3, 4), torch.zeros(2, 3, 48, 64))
    value = F.linear(
        block.ln_1(tokens[:, 1:]), block.attn.in_proj_weight[-WIDTH:], block.attn.in_proj_bias[-WIDTH:]
    )
    assert torch.allclose(found.flatten(2).transpose(1, 2), block.attn.out_proj(value), atol=1e-5)


def test_the_encoder_sees_its_own_normalisation(block: ResidualAttentionBlock) -> None:
    """Within the thousandth of a grey value by which the two sets of CLIP's constants differ."""
    pixels = torch.randint(0, 256, (2, 3, 48, 64)).float()
    mean, std = torch.tensor([122.771, 116.746, 104.094]), torch.tensor([68.501, 66.632, 70.323])
    encoder = Encoder(torch.randn(2, 6, 3, 4))
    images = (pixels - mean[:, None, None]) / std[:, None, None]
    ProxyAttention(encoder=encoder)(block, torch.randn(2, 13, WIDTH), (3, 4), images)
    (seen,) = encoder.seen
    expected_mean, expected_std = torch.tensor(encoder.spec.pixel_mean), torch.tensor(encoder.spec.pixel_std)
    back = seen * expected_std[:, None, None] + expected_mean[:, None, None]
    assert (back - pixels).abs().max() < 2e-3


def test_renormalising_undoes_clip_s_unrounded_constants() -> None:
    """Black and white in CLIP's own units are 0 and 255 exactly, up to float32."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    black_and_white = torch.stack([(torch.zeros(3, 2, 2) - mean) / std, (torch.ones(3, 2, 2) - mean) / std])
    spec = ImageSpec(
        channels={}, dense_channels=1, pixel_mean=(0.0, 0.0, 0.0), pixel_std=(255.0, 255.0, 255.0)
    )
    found = renormalise(black_and_white, spec)
    assert torch.allclose(found, torch.tensor([0.0, 1.0])[:, None, None, None].expand_as(found), atol=1e-6)
