"""CLIP's text tower, run only where a result is looked at.

The tower is causal: a token sees itself and what is before it, and a prompt's vector is read at its end
token. So nothing after the end token has an effect, and cutting each batch to its longest prompt instead of
padding it to 77 tokens is exact; so is computing the last block for the end tokens alone.

Source: CLIP (arXiv 2103.00020), section 2.4; `open_clip/transformer.py`, whose modules hold the parameters.

Letters: n prompts, l tokens, d width of the tower, e text-space dimensions.
"""

from collections.abc import Iterator, Sequence

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from ovseg.errors import ConfigError, VocabularyError
from ovseg.models.common.fingerprint import Fingerprint
from ovseg.models.common.linear import Activation, linear, mlp

TOKENS_PER_BATCH = 4096
"""Bounds the memory of a forward pass: 50 MB for the widest activation of a tower of width 768."""


class PromptTooLongError(VocabularyError):
    """A prompt does not fit the tower; CLIP itself would cut it without a word.

    Attributes:
        index: of the prompt among those given.
        tokens: how many it has, start and end included.
        limit: how many the tower reads.
    """

    def __init__(self, prompt: str, *, index: int, tokens: int, limit: int) -> None:
        super().__init__(
            f"A prompt has {tokens} tokens, start and end included, and this CLIP reads {limit}. Shorten it: "
            f"{prompt}"
        )
        self.index, self.tokens, self.limit = index, tokens, limit


class ClipTextEncoder:
    """The text tower of an open_clip CLIP.

    Parameters are read at each call and none when the encoder is made, so the weights may come later.

    Args:
        clip: a CLIP with open_clip's own text tower.
        tokenizer: that the tower was trained with.

    Raises:
        ConfigError: the tower is not causal, or has parts that this encoder does not know.
    """

    def __init__(self, clip: open_clip.CLIP, tokenizer: SimpleTokenizer) -> None:
        _check_tower(clip)
        self._clip = clip
        self._tokenizer = tokenizer
        self._fingerprint = Fingerprint()

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "n e"]:
        """Encode prompts into text space, in order, not normalised, in float32 on the tower's device.

        Raises:
            PromptTooLongError: a prompt has more tokens than the tower reads.
        """
        tokens = [self._tokens(prompt, index) for index, prompt in enumerate(prompts)]
        device = self._clip.positional_embedding.device
        # Longest first: prompts of one length share a batch, and what does not fit fails at once.
        order = sorted(range(len(tokens)), key=lambda index: -len(tokens[index]))
        size = (len(tokens), _text_dimensions(self._clip))
        features = torch.empty(size, dtype=torch.float32, device=device)
        for batch in _batches(order, [len(ids) for ids in tokens]):
            ids, ends = _padded([tokens[index] for index in batch], device)
            features[torch.tensor(batch, device=device)] = _forward(self._clip, ids, ends)
        return features

    def fingerprint(self) -> str:
        """Digest of architecture, tokenizer and weights; see `Fingerprint` for which changes it sees."""
        blocks = self._clip.transformer.resblocks
        architecture = [
            type(self._tokenizer).__qualname__,
            int(self._clip.context_length),
            [[block.attn.num_heads, _activation(block), block.ln_1.eps, block.ln_2.eps] for block in blocks],
            self._clip.ln_final.eps,
        ]
        return self._fingerprint.of(architecture, _text_parameters(self._clip))

    def _tokens(self, prompt: str, index: int) -> list[int]:
        tokenizer = self._tokenizer
        ids = [tokenizer.sot_token_id, *tokenizer.encode(prompt), tokenizer.eot_token_id]
        limit = int(self._clip.context_length)
        if len(ids) > limit:
            raise PromptTooLongError(prompt, index=index, tokens=len(ids), limit=limit)
        return ids


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Prompts, longest first, in runs whose tokens with padding stay within `TOKENS_PER_BATCH`."""
    start = 0
    while start < len(order):
        size = max(1, TOKENS_PER_BATCH // lengths[order[start]])
        yield list(order[start : start + size])
        start += size


def _padded(
    tokens: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "n l"], Int[Tensor, " n"]]:
    """Token ids up to the longest prompt, and the position of each prompt's end token, its highest id."""
    longest = max(len(ids) for ids in tokens)
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in tokens], device=device)
    return padded, padded.argmax(-1)


def _forward(
    clip: open_clip.CLIP, tokens: Int[Tensor, "n l"], ends: Int[Tensor, " n"]
) -> Float[Tensor, "n e"]:
    *blocks, last = clip.transformer.resblocks
    x = clip.token_embedding(tokens) + clip.positional_embedding[: tokens.shape[1]]
    x = x.to(last.mlp.c_fc.weight.dtype)
    for block in blocks:
        x = _block(block, x)
    return _project(clip, clip.ln_final(_block_at(last, x, ends))).float()


def _block(block: ResidualAttentionBlock, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
    query, key, value = _heads(block, x)
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return _rest_of_block(block, x, attended.transpose(1, 2).flatten(2))


def _block_at(
    block: ResidualAttentionBlock, x: Float[Tensor, "n l d"], ends: Int[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """The block for one position per prompt; keys and values still need all of them."""
    query, key, value = _heads(block, x)
    rows = torch.arange(len(ends), device=ends.device)
    visible = torch.arange(x.shape[1], device=ends.device) <= ends[:, None]  # (n, l)
    attended = F.scaled_dot_product_attention(
        query[rows, :, ends][:, :, None], key, value, attn_mask=visible[:, None, None]
    )
    return _rest_of_block(block, x[rows, ends], attended.flatten(1))


def _heads(block: ResidualAttentionBlock, x: Float[Tensor, "n l d"]) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of the block's attention, each (n, heads, l, d / heads)."""
    attention = block.attn
    packed = linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    split = packed.view(*packed.shape[:2], 3, attention.num_heads, -1)
    query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
    return query, key, value


def _rest_of_block(
    block: ResidualAttentionBlock, x: Float[Tensor, "*n d"], attended: Float[Tensor, "*n d"]
) -> Float[Tensor, "*n d"]:
    out, up, down = block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj
    x = x + block.ls_1(linear(attended, out.weight, out.bias))
    hidden = mlp(block.ln_2(x), (up.weight, up.bias), (down.weight, down.bias), _activation(block))
    out_of_block: Tensor = x + block.ls_2(hidden)
    return out_of_block


def _project(clip: open_clip.CLIP, x: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
    projection: Tensor | nn.Linear | None = clip.text_projection
    if projection is None:
        return x
    if isinstance(projection, nn.Linear):
        return F.linear(x, projection.weight, projection.bias)
    return x @ projection.to(x.dtype)


def _text_dimensions(clip: open_clip.CLIP) -> int:
    projection: Tensor | nn.Linear | None = clip.text_projection
    if projection is None:
        return int(clip.positional_embedding.shape[1])
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]


def _text_parameters(clip: open_clip.CLIP) -> list[tuple[str, Tensor]]:
    parts = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
    return [(name, parameter) for name, parameter in clip.named_parameters() if name.startswith(parts)]


def _activation(block: ResidualAttentionBlock) -> Activation:
    match block.mlp.gelu:
        case QuickGELU():
            return "quick_gelu"
        case nn.GELU(approximate="none"):
            return "gelu"
        case other:
            raise ConfigError(_unsupported(f"its activation is {other}"))


def _check_tower(clip: open_clip.CLIP) -> None:
    if not _is_causal(clip):
        raise ConfigError(_unsupported("its tokens see what comes after them"))
    if clip.text_pool_type != "argmax":
        raise ConfigError(_unsupported(f"it is read at '{clip.text_pool_type}' and not at the end token"))
    for block in clip.transformer.resblocks:
        if type(block) is not ResidualAttentionBlock:
            raise ConfigError(_unsupported(f"it is made of {type(block).__name__}"))
        _activation(block)


def _unsupported(reason: str) -> str:
    return (
        f"This CLIP's text tower is not supported: {reason}. Supported are the causal towers of open_clip "
        "with GELU or QuickGELU, for example those of convnext_large_d_320, RN50 and ViT-B-16."
    )


def _is_causal(clip: open_clip.CLIP) -> bool:
    mask: Tensor | None = clip.attn_mask
    # On the meta device the mask has no values; open_clip makes no other than the causal one.
    if mask is None or mask.is_meta:
        return mask is not None
    return torch.equal(mask, torch.full_like(mask, float("-inf")).triu(1))
