"""The encoder over the package's modules against the package's own forward pass."""

from functools import partial

import pytest
import torch
from helpers.memory import peak_bytes
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from ovseg.models.common.global_attention import attend
from ovseg.models.common.linear import linear_backend
from ovseg.models.sam.attention import windowed_attention
from ovseg.models.sam.encoder import encode_pixels, set_matmul_dtype


def encoder(side: int, *, window: int, dim: int = 48, heads: int = 3, blocks: int = 4) -> ImageEncoderViT:
    made = ImageEncoderViT(
        img_size=side * 16,
        patch_size=16,
        embed_dim=dim,
        depth=blocks,
        num_heads=heads,
        out_chans=32,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1, blocks - 1),
    )
    for parameter in made.parameters():  # positions start as zeros, norms and biases as ones and zeros
        nn.init.normal_(parameter, std=0.3 if parameter.ndim < 4 else 0.05)
    return made.requires_grad_(False).eval()


@pytest.mark.parametrize("backend", ["plain", "onednn"])
@pytest.mark.parametrize(("side", "window"), [(8, 4), (9, 4), (23, 14), (5, 14)])
def test_equals_the_package(side: int, window: int, backend: str) -> None:
    model = encoder(side, window=window)
    pixels = torch.randn(2, 3, side * 16, side * 16)
    expected = model(pixels)
    with torch.no_grad(), linear_backend(backend):
        dense, _ = encode_pixels(model, pixels, (side, side))
    assert dense.is_contiguous()
    assert (dense - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize(("side", "window"), [(8, 4), (9, 4), (5, 14)])
def test_rows_of_windows_make_the_whole_grid(side: int, window: int) -> None:
    attention = encoder(side, window=window).blocks[0].attn
    looks = torch.randn(2, side, side, 3 * 48)
    strips = [windowed_attention(attention, strip, window) for strip in looks.split(window, 1)]
    assert torch.allclose(windowed_attention(attention, looks, window), torch.cat(strips, 1), atol=1e-5)


def test_last_attention_is_what_the_last_block_looks_with() -> None:
    model = encoder(9, window=4)
    seen = {}
    last = model.blocks[-1].attn
    last.register_forward_hook(lambda _, given, out: seen.update(x=given[0], y=out))
    pixels = torch.randn(1, 3, 144, 144)
    model(pixels)
    with torch.no_grad():
        _, attention = encode_pixels(model, pixels, (7, 9))
        y = last.proj(attend(attention).transpose(1, 2).flatten(2))
    assert (attention.grid, attention.valid) == ((9, 9), (7, 9))
    assert (y.reshape(seen["y"].shape) - seen["y"]).abs().max() < 2e-5 * seen["y"].abs().max()
    values = last.qkv(seen["x"]).reshape(1, 81, 3, 3, 16)[:, :, 2].transpose(1, 2)
    assert (attention.values - values).abs().max() < 2e-5 * values.abs().max()


def test_bf16_products() -> None:
    model = encoder(9, window=4)
    pixels = torch.randn(1, 3, 144, 144)
    expected = model(pixels)
    set_matmul_dtype(model, torch.bfloat16)
    assert model.blocks[0].norm1.weight.dtype == model.pos_embed.dtype == torch.float32
    assert model.blocks[0].attn.qkv.weight.dtype == model.neck[2].weight.dtype == torch.bfloat16
    with torch.no_grad():
        dense, attention = encode_pixels(model, pixels, (9, 9))
    assert dense.dtype == attention.queries.dtype == attention.row_bias.dtype == torch.float32
    difference = (dense - expected).abs().mean() / expected.abs().mean()
    assert 1e-5 < difference < 0.03


def test_the_package_is_left_as_it_is() -> None:
    model = encoder(8, window=4)
    pixels = torch.randn(1, 3, 128, 128)
    before, given = model(pixels), pixels.clone()
    with torch.no_grad():
        encode_pixels(model, pixels, (8, 8))
    assert torch.equal(model(pixels), before)
    assert torch.equal(pixels, given)


def test_an_encoder_that_ends_in_windows() -> None:
    model = encoder(4, window=2)
    model.blocks = model.blocks[:3]
    with torch.no_grad(), pytest.raises(ValueError, match="last block must attend globally"):
        encode_pixels(model, torch.zeros(1, 3, 64, 64), (4, 4))


def test_memory_of_the_published_grid() -> None:
    model = encoder(64, window=14, blocks=2)
    pixels = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad(), linear_backend("plain"):
        peak = peak_bytes(lambda: encode_pixels(model, pixels, (64, 64)))
    assert peak < 4096 * 4096 * 4  # the weights of a single one of the heads
