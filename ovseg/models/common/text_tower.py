"""CLIP's text tower, run only where a result is looked at.

The tower is causal: a token sees itself and what is before it, and a prompt's vector is read at its end
token. From that follows, exactly:
- nothing after the end token has an effect, so prompts are not padded to 77 tokens;
- prompts that begin alike are alike up to where they part, so what they share is computed once. Prompts made
  from templates share about half of their tokens;
- the last block is needed at the end tokens alone.

Source: CLIP (arXiv 2103.00020), section 2.4; `open_clip/transformer.py`, whose modules hold the parameters.

Letters: n prompts, l tokens of the longest, m distinct beginnings of prompts, d width of the tower, h heads,
e text-space dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
        # In this order prompts that begin alike are neighbours, so that they meet in one batch.
        order = sorted(range(len(tokens)), key=tokens.__getitem__)
        size = (len(tokens), _text_dimensions(self._clip))
        features = torch.empty(size, dtype=torch.float32, device=device)
        for batch in _batches(order, [len(ids) for ids in tokens]):
            packed = _pack([tokens[index] for index in batch], device)
            features[torch.tensor(batch, device=device)] = _forward(self._clip, packed)
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


@dataclass(frozen=True)
class _Packed:
    """Prompts as a tree of their beginnings, each of which is one row of every activation.

    Attributes:
        tokens, positions: last token of each beginning, and its place in the prompt.
        rows: for each prompt and place, the row of that beginning; 0 after the end of the prompt.
        places: for each row, one place that it has in `rows`, counted over the flattened grid.
        ends: place of each prompt's end token.
    """

    tokens: Int[Tensor, " m"]
    positions: Int[Tensor, " m"]
    rows: Int[Tensor, "n l"]
    places: Int[Tensor, " m"]
    ends: Int[Tensor, " n"]


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Prompts, in their order, in runs that stay within `TOKENS_PER_BATCH` when padded to the longest."""
    batch: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if batch and (len(batch) + 1) * longest > TOKENS_PER_BATCH:
            yield batch
            batch, longest = [], lengths[index]
        batch.append(index)
    if batch:
        yield batch


def _pack(prompts: Sequence[Sequence[int]], device: torch.device) -> _Packed:
    longest = max(len(ids) for ids in prompts)
    row_of: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    rows: list[list[int]] = []
    for number, ids in enumerate(prompts):
        path: list[int] = []
        for position, token in enumerate(ids):
            before = path[-1] if path else -1
            row = row_of.setdefault((before, token), len(tokens))
            if row == len(tokens):
                tokens.append(token)
                positions.append(position)
                places.append(number * longest + position)
            path.append(row)
        rows.append(path + [0] * (longest - len(path)))
    # The end token has the highest id; like CLIP, take the first where a name spells it out.
    ends = [ids.index(max(ids)) for ids in prompts]
    lists = (tokens, positions, rows, places, ends)
    return _Packed(*(torch.tensor(values, device=device) for values in lists))


def _forward(clip: open_clip.CLIP, packed: _Packed) -> Float[Tensor, "n e"]:
    *blocks, last = clip.transformer.resblocks
    x = clip.token_embedding(packed.tokens) + clip.positional_embedding[packed.positions]
    x = x.to(last.mlp.c_fc.weight.dtype)
    for block in blocks:
        x = _block(block, x, packed)
    return _project(clip, clip.ln_final(_block_at_ends(last, x, packed))).float()


def _block(block: ResidualAttentionBlock, x: Float[Tensor, "m d"], packed: _Packed) -> Float[Tensor, "m d"]:
    """One residual block; only its attention looks at whole prompts."""
    query, key, value = (_heads(block, part[packed.rows]) for part in _query_key_value(block, x))
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return _rest_of_block(block, x, attended.transpose(1, 2).flatten(2).flatten(0, 1)[packed.places])


def _block_at_ends(
    block: ResidualAttentionBlock, x: Float[Tensor, "m d"], packed: _Packed
) -> Float[Tensor, "n d"]:
    query, key, value = _query_key_value(block, x)
    ends = packed.rows.gather(1, packed.ends[:, None])  # (n, 1)
    visible = torch.arange(packed.rows.shape[1], device=ends.device) <= packed.ends[:, None]  # (n, l)
    attended = F.scaled_dot_product_attention(
        _heads(block, query[ends]),
        _heads(block, key[packed.rows]),
        _heads(block, value[packed.rows]),
        attn_mask=visible[:, None, None],
    )
    return _rest_of_block(block, x[ends[:, 0]], attended.flatten(1))


def _query_key_value(block: ResidualAttentionBlock, x: Float[Tensor, "m d"]) -> tuple[Tensor, ...]:
    """The three inputs of the block's attention, each (m, d)."""
    return linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, -1)


def _heads(block: ResidualAttentionBlock, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n h l d_h"]:
    return x.view(*x.shape[:2], block.attn.num_heads, -1).transpose(1, 2)


def _rest_of_block(
    block: ResidualAttentionBlock, x: Float[Tensor, "n d"], attended: Float[Tensor, "n d"]
) -> Float[Tensor, "n d"]:
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
