"""The mask decoder's first mask against the package's own decoder."""

import pytest
import torch
from segment_anything.modeling import MaskDecoder
from torch import nn

from ovseg.models.common.linear import linear_backend
from ovseg.models.sam.architecture import SamSize, build_parts
from ovseg.models.sam.decoder import decode_first_mask

SIZE = SamSize(
    embed_dim=16,
    depth=1,
    num_heads=2,
    global_attn=(0,),
    prompt_dim=32,
    dec_mlp=24,
    dec_heads=4,
    image_size=112,
)


def decoder() -> MaskDecoder:
    made = build_parts(SIZE)[2]
    for parameter in made.parameters():  # biases and norms too, which start as zeros and ones
        nn.init.normal_(parameter, std=0.4)
    return made.requires_grad_(False).eval()


@pytest.mark.parametrize("tokens", [0, 1, 3])
@pytest.mark.parametrize("maps", [1, 5])
def test_equals_the_package(maps: int, tokens: int) -> None:
    made = decoder()
    features, positions = torch.randn(2, 1, 32, 7, 7)
    sparse, dense = torch.randn(5, tokens, 32), torch.randn(maps, 32, 7, 7)
    expected, scores = made(features, positions, sparse, dense, multimask_output=False)
    with torch.no_grad(), linear_backend("plain"):
        ours, our_scores = decode_first_mask(made, features, positions, sparse, dense)
    assert ours.shape == (5, 28, 28)
    assert (ours - expected[:, 0]).abs().max() < 2e-5 * expected.abs().max()
    assert (our_scores - scores[:, 0]).abs().max() < 2e-5 * scores.abs().max()


def test_rectangular_grids() -> None:
    made = decoder()
    features, positions = torch.randn(2, 1, 32, 3, 5)
    sparse, dense = torch.randn(2, 3, 32), torch.zeros(1, 32, 3, 5)
    expected, _ = made(features, positions, sparse, dense, multimask_output=False)
    with torch.no_grad(), linear_backend("plain"):
        ours, _ = decode_first_mask(made, features, positions, sparse, dense)
    assert (ours - expected[:, 0]).abs().max() < 2e-5 * expected.abs().max()
