"""What training-free methods put in the place of a CLIP ViT's last block.

All are `ovseg.interfaces.LastBlock`s without parameters: they use those of the block that they are given. The
class token takes part as each method has it and is not in the map. README.md has the rules side by side.

Letters: b windows, n tokens (the class token first), c channels, h w the grid of the patches.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.models.clip_vit.tower import block_layers
from ovseg.models.common.linear import linear
from ovseg.models.common.vit import (
    as_map,
    feed_forward,
    project_heads,
    query_key_value,
    run_block,
    values,
)


class SelfAttention:
    """The block as it was trained: plain CLIP's own map (arXiv 2103.00020)."""

    def __call__(
        self,
        block: nn.Module,
        tokens: Float[Tensor, "b n c"],
        grid: tuple[int, int],
        images: Float[Tensor, "b 3 H W"],
    ) -> Float[Tensor, "b c h w"]:
        """Attention and perceptron with their residual sums."""
        x = tokens.clone()
        run_block(block_layers(block), x)
        return as_map(x[:, 1:], grid)


class ValuePath:
    """MaskCLIP: no attention, every token keeps its own value (arXiv 2112.01071).

    The paper says "values, projected". Its official ViT, as far as is known here and not compared with it,
    adds the block's input and runs the perceptron on the sum; that is the default. The paper's key smoothing
    and prompt denoising come after the map and are no part of this.

    Args:
        residual: add the block's input to the projected values.
        feed_forward: run the block's perceptron on that and add it.
    """

    def __init__(self, *, residual: bool = True, feed_forward: bool = True) -> None:
        self.residual, self.feed_forward = residual, feed_forward

    def __call__(
        self,
        block: nn.Module,
        tokens: Float[Tensor, "b n c"],
        grid: tuple[int, int],
        images: Float[Tensor, "b 3 H W"],
    ) -> Float[Tensor, "b c h w"]:
        """Project the values of the patches; the class token plays no part."""
        layers, patches = block_layers(block), tokens[:, 1:]
        x = linear(values(layers, patches), *layers.out).float()
        if self.residual:
            x = x + patches
        if self.feed_forward:
            x = x + feed_forward(layers, x)
        return as_map(x, grid)


class CorrelativeAttention:
    """SCLIP: queries look at queries and keys at keys (arXiv 2312.01597).

    The weights are softmax(q q^T / sqrt d) + softmax(k k^T / sqrt d), their sum not divided by two; the class
    token is among the tokens, residual sums and perceptron stay.
    """

    def __call__(
        self,
        block: nn.Module,
        tokens: Float[Tensor, "b n c"],
        grid: tuple[int, int],
        images: Float[Tensor, "b 3 H W"],
    ) -> Float[Tensor, "b c h w"]:
        """Attend by both likenesses."""
        layers = block_layers(block)
        q, k, v = query_key_value(layers, tokens)
        seen = F.scaled_dot_product_attention(q, q, v) + F.scaled_dot_product_attention(k, k, v)
        x = tokens + project_heads(layers, seen)
        return as_map((x + feed_forward(layers, x))[:, 1:], grid)


class NeighbourAttention:
    """NACLIP: keys look at keys and at what is near (arXiv 2404.08181).

    The weights are softmax(k k^T / sqrt d + exp(-distance^2 / (2 std^2))), distances between patches counted
    in tokens; nothing is added for the class token, on either side. No residual sums and no perceptron.

    Args:
        std: of the Gaussian, in tokens.

    Raises:
        ConfigError: std is not positive.
    """

    def __init__(self, *, std: float = 5.0) -> None:
        if not std > 0:
            raise ConfigError(f"last block neighbour: std={std} must be above 0 tokens; the paper's is 5.")
        self.std = std

    def __call__(
        self,
        block: nn.Module,
        tokens: Float[Tensor, "b n c"],
        grid: tuple[int, int],
        images: Float[Tensor, "b 3 H W"],
    ) -> Float[Tensor, "b c h w"]:
        """Attend by likeness of keys and by nearness."""
        layers = block_layers(block)
        _, k, v = query_key_value(layers, tokens)
        nearness = F.pad(gaussian_nearness(grid, self.std, device=k.device), (1, 0, 1, 0)).to(k.dtype)
        seen = F.scaled_dot_product_attention(k, k, v, attn_mask=nearness)
        return as_map(project_heads(layers, seen[:, :, 1:]), grid)


def gaussian_nearness(grid: tuple[int, int], std: float, *, device: torch.device) -> Float[Tensor, "m m"]:
    """exp(-distance^2 / (2 std^2)) of every two places of a grid, row by row; 1 for a place and itself."""

    def axis(size: int) -> Float[Tensor, "l l"]:
        place = torch.arange(size, device=device, dtype=torch.float32)
        return (-((place[:, None] - place) ** 2) / (2 * std**2)).exp()

    return torch.kron(axis(grid[0]), axis(grid[1]))
