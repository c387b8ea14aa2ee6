"""Vocabularies in text space: against FC-CLIP's official code, and what is computed when."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_clip import GOLDEN, Encoder, golden_clip, tiny_clip
from open_clip.tokenizer import SimpleTokenizer

from ovseg.errors import VocabularyError
from ovseg.models.common import text
from ovseg.models.common.text import TextCache, embed_vocabulary
from ovseg.vocabulary import ClassEntry, Vocabulary, load_templates, load_vocabulary, parse_classes

VILD = load_templates("vild")


def official_names(raw):
    return tuple(raw.replace(", ", ",").split(","))


@pytest.mark.parametrize("name", ["tiny", "tiny_rn"])
def test_equals_the_official_text_classifier(name):
    about = json.loads((GOLDEN / f"{name}.json").read_text())
    vocabulary = Vocabulary(
        "golden", tuple(ClassEntry(official_names(raw), bool(thing)) for raw, thing in about["test_classes"])
    )
    training = [synonym for raw, _ in about["train_classes"] for synonym in official_names(raw)]

    encoder = Encoder(golden_clip(name))
    embeddings = embed_vocabulary(
        encoder, vocabulary, templates=VILD, cache=TextCache(None), training_names=training
    )

    expected = torch.from_numpy(np.load(GOLDEN / f"{name}.npz")["text_classifier_with_void"])[:-1]
    torch.testing.assert_close(embeddings.rows, expected, rtol=0, atol=1e-6)
    assert torch.bincount(embeddings.class_of_row).tolist() == about["test_num_templates"]
    assert embeddings.is_seen.int().tolist() == about["category_overlapping_mask"]
    assert set(about["test_prompts"]) <= set(encoder.prompts)


def test_rows_by_the_formula_for_mixed_lengths_and_small_steps(monkeypatch):
    monkeypatch.setattr(text, "PROMPTS_PER_STEP", 7)
    clip = tiny_clip()
    names = ["hippopotamus", "a", "the old town hall", "cat", "dog, wolf", "zebra crossing"]
    vocabulary = parse_classes(names)
    templates = ("a {}.", "there is a {} in the scene", "{}")
    rows = embed_vocabulary(Encoder(clip), vocabulary, templates=templates, cache=TextCache(None)).rows
    for row, name in zip(rows, names, strict=True):
        tokens = SimpleTokenizer()([template.replace("{}", name) for template in templates])
        with torch.no_grad():
            features = clip.encode_text(tokens)
        mean = (features / features.norm(dim=-1, keepdim=True)).mean(0)
        torch.testing.assert_close(row, mean / mean.norm(), rtol=0, atol=1e-6)


def test_types_and_order():
    vocabulary = parse_classes(["cat", "dog|puppy", "stuff:sky"])
    encoder, cache, training = Encoder(tiny_clip()), TextCache(None), ["puppy", "Sky"]
    embeddings = embed_vocabulary(encoder, vocabulary, templates=VILD, cache=cache, training_names=training)
    assert embeddings.rows.dtype == torch.float32
    assert embeddings.class_of_row.tolist() == [0, 1, 1, 2]
    assert embeddings.is_seen.tolist() == [False, True, False]
    torch.testing.assert_close(embeddings.rows.norm(dim=-1), torch.ones(4))


def test_identical_synonyms_are_encoded_once():
    shared = Vocabulary("shared", (ClassEntry(("cat", "pet")), ClassEntry(("dog", "pet", "pet"))))
    encoder = Encoder(tiny_clip())
    rows = embed_vocabulary(encoder, shared, templates=VILD, cache=TextCache(None)).rows
    assert len(encoder.prompts) == 3 * 14
    assert torch.equal(rows[1], rows[3])
    assert torch.equal(rows[1], rows[4])


def test_templates_of_the_vocabulary_come_first():
    own = Vocabulary("own", (ClassEntry(("cat",)),), templates=("the {}",))
    encoder = Encoder(tiny_clip())
    embed_vocabulary(encoder, own, templates=VILD, cache=TextCache(None))
    assert encoder.prompts == ["the cat"]


def test_braces_in_names_are_just_letters():
    encoder = Encoder(tiny_clip())
    embed_vocabulary(encoder, parse_classes(["{0} {}"]), templates=["a {}."], cache=TextCache(None))
    assert encoder.prompts == ["a {0} {}."]


def test_memory_serves_the_second_picture_and_shared_names():
    encoder, cache = Encoder(tiny_clip()), TextCache(None)
    first = embed_vocabulary(encoder, parse_classes(["cat", "dog"]), templates=VILD, cache=cache)
    second = embed_vocabulary(encoder, parse_classes(["dog", "cow", "cat"]), templates=VILD, cache=cache)
    assert len(encoder.prompts) == 3 * 14
    assert torch.equal(first.rows[[1, 0]], second.rows[[0, 2]])


def test_changed_weights_and_templates_are_computed_anew(tmp_path):
    clip = tiny_clip()
    encoder, cache = Encoder(clip), TextCache(tmp_path)
    vocabulary = parse_classes(["cat"])
    before = embed_vocabulary(encoder, vocabulary, templates=VILD, cache=cache).rows
    with torch.no_grad():
        clip.text_projection.copy_(clip.text_projection.roll(1, dims=0))
    after = embed_vocabulary(encoder, vocabulary, templates=VILD, cache=cache).rows
    assert F.cosine_similarity(before, after).item() < 0.99
    other = embed_vocabulary(encoder, vocabulary, templates=VILD[:1], cache=cache).rows
    assert not torch.equal(after, other)
    assert len(encoder.prompts) == 14 + 14 + 1
    again = Encoder(clip)
    kept = embed_vocabulary(again, vocabulary, templates=VILD, cache=TextCache(tmp_path)).rows
    assert torch.equal(kept, after)
    assert again.prompts == []


def test_name_that_is_too_long():
    long = " ".join(["very"] * 80) + " long"
    vocabulary = parse_classes(["cat", f"snake|{long}", "dog"])
    with pytest.raises(
        VocabularyError,
        match=r"The name 'very very .*\.\.\.' of class 2 in the vocabulary 'custom' is too long: in a "
        r"prompt it makes \d+ tokens, and this CLIP reads 77\. Shorten it by \d+ tokens",
    ):
        embed_vocabulary(Encoder(tiny_clip()), vocabulary, templates=VILD, cache=TextCache(None))


@pytest.mark.parametrize("name", ["coco_panoptic", "ade20k_847", "lvis"])
def test_every_name_of_the_long_lists_fits(name):
    tokenizer = SimpleTokenizer()
    longest = max(VILD, key=lambda template: len(tokenizer.encode(template)))
    for synonym in load_vocabulary(name).synonyms:
        assert len(tokenizer.encode(longest.replace("{}", synonym))) + 2 <= 77
