"""A vocabulary to text space: the prompts of each synonym, encoded, averaged, remembered."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovseg.errors import VocabularyError
from ovseg.interfaces import TextEncoder
from ovseg.models.common.text_cache import TextCache
from ovseg.models.common.text_tower import ClipTextEncoder, PromptTooLongError
from ovseg.progress import progress
from ovseg.types import TextEmbeddings
from ovseg.vocabulary import Vocabulary, is_seen

__all__ = ["ClipTextEncoder", "TextCache", "embed_vocabulary"]

PROMPTS_PER_STEP = 1024
"""How many prompts are encoded between two steps of the progress bar."""


def embed_vocabulary(
    encoder: TextEncoder,
    vocabulary: Vocabulary,
    *,
    templates: Sequence[str],
    cache: TextCache,
    training_names: Sequence[str] = (),
) -> TextEmbeddings:
    """Bring a vocabulary into text space, on the CPU.

    Each prompt of a synonym is encoded and L2-normalised, their mean is L2-normalised again. One row per
    synonym, not per class, so that a class can take the best of its names. Source: official FC-CLIP,
    `fcclip/fcclip.py`, `get_text_classifier`; Trident does the same with templates of its own.

    Args:
        encoder: whose text space.
        vocabulary: what may be named.
        templates: prompts with one ``{}`` each, used where the vocabulary brings none of its own.
        cache: is asked first and holds the new rows afterwards.
        training_names: what `TextEmbeddings.is_seen` is decided by.

    Raises:
        VocabularyError: a name is too long for the text tower.
    """
    prompts = vocabulary.templates or tuple(templates)
    rows = cache.rows(
        vocabulary.synonyms,
        fingerprint=encoder.text_fingerprint(),
        templates=prompts,
        compute=lambda names: _embed(encoder, names, prompts, vocabulary),
    )
    return TextEmbeddings(
        rows=rows,
        class_of_row=torch.tensor(vocabulary.class_of_synonym),
        is_seen=torch.tensor(is_seen(vocabulary, training_names)),
    )


def _embed(
    encoder: TextEncoder, names: Sequence[str], templates: Sequence[str], vocabulary: Vocabulary
) -> Float[Tensor, "s e"]:
    """One row per name; `vocabulary` is for errors."""
    size = max(1, PROMPTS_PER_STEP // len(templates))
    rows: list[Tensor] = []
    with progress("Encoding class names", total=len(names), unit="names") as advance:
        for start in range(0, len(names), size):
            step = names[start : start + size]
            try:
                rows.append(_mean_of_prompts(encoder, step, templates))
            except PromptTooLongError as error:
                name = step[error.index // len(templates)]
                raise VocabularyError(_too_long(name, vocabulary, error)) from error
            advance(len(step))
    return torch.cat(rows)


def _mean_of_prompts(
    encoder: TextEncoder, names: Sequence[str], templates: Sequence[str]
) -> Float[Tensor, "s e"]:
    prompts = [template.replace("{}", name) for name in names for template in templates]
    features = F.normalize(encoder.encode_text(prompts).float(), dim=-1)
    per_name = features.view(len(names), len(templates), -1)
    return F.normalize(per_name.mean(1), dim=-1).cpu()


def _too_long(name: str, vocabulary: Vocabulary, error: PromptTooLongError) -> str:
    index = next(index for index, entry in enumerate(vocabulary.classes) if name in entry.names)
    start = name if len(name) <= 60 else f"{name[:60]}..."
    return (
        f"The name '{start}' of class {index + 1} in the vocabulary '{vocabulary.name}' is too long: "
        f"in a prompt it makes {error.tokens} tokens, and this CLIP reads {error.limit}. Shorten it by "
        f"{error.tokens - error.limit} tokens; most words are one or two."
    )
