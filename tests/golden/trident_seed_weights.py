"""Deterministic pseudo-random weights, with which two independent programs fill the same Trident alike.

The stream of every tensor is seeded by its prefixed key alone ('clip.', 'dino.' or 'sam.' and the key of the
published state dict), so neither the order nor which other tensors exist matters:

    g = numpy.random.Generator(numpy.random.PCG64(zlib.crc32(key.encode("utf-8"))))
    x = g.standard_normal(shape)            # float64, C order; scaled in float64, then cast to float32

Rules, the first that matches wins (leaf = last dotted part of the key):
  1 non-floating tensor                          -> not returned
  2 leaf 'logit_scale'                           -> the constant ln(100)
  3 'positional_encoding_gaussian_matrix'        -> 1.0 * x
  4 leaf in positional_embedding, pos_embed      -> 0.4 * x
  5 leaf in class_embedding, cls_token           -> 0.4 * x
  6 'token_embedding.weight'                     -> 0.5 * x
  7 ndim >= 2                                    -> x / sqrt(prod(shape[1:]))
  8 ndim == 1 and leaf 'weight' (norm scales)    -> 1 + 0.1 * x
  9 ndim <= 1 otherwise (biases)                 -> 0.1 * x

`gains` ({substring: factor}, in order): the first substring found in the prefixed key multiplies the result
of rules 4 to 9 by its factor. The gains of each golden file are in its json.
"""

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch


def seed_array(key: str, shape: Sequence[int], gains: Mapping[str, float]) -> np.ndarray:
    """The float32 values of one tensor; `key` has its prefix."""
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "logit_scale":
        return np.full(shape, math.log(100.0), dtype=np.float32)
    x = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode("utf-8")))).standard_normal(tuple(shape))
    if leaf == "positional_encoding_gaussian_matrix":
        return x.astype(np.float32)
    gain = next((factor for part, factor in gains.items() if part in key), 1.0)
    if leaf in ("positional_embedding", "pos_embed", "class_embedding", "cls_token"):
        y = gain * 0.4 * x
    elif key.endswith("token_embedding.weight"):
        y = gain * 0.5 * x
    elif len(shape) >= 2:
        y = gain * x / math.sqrt(float(np.prod(shape[1:])))
    elif len(shape) == 1 and leaf == "weight":
        y = gain * (1.0 + 0.1 * x)
    else:
        y = gain * 0.1 * x
    return np.asarray(y, dtype=np.float32).reshape(tuple(shape))


def seed_state_dict(
    state: Mapping[str, torch.Tensor], prefix: str, gains: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """The seeded tensors of a state dict, whose own values are only looked at for their shapes."""
    return {
        key: torch.from_numpy(seed_array(prefix + key, tensor.shape, gains))
        for key, tensor in state.items()
        if tensor.is_floating_point()
    }
