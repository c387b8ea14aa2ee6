"""The merges of toyworld's tokenizer, in the format of open_clip's: every word of a caption is one token.

    python benchmarks/toyworld/words_bpe.py

Byte pair encoding learned from the list of words, each counted once, until each is whole. Any other word is
cut into pieces that occur in these words, down to bytes.

Source: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

import gzip
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ovseg.data.toyworld.captions import caption_words
from ovseg.weights.shipped import FOLDER

FILE = FOLDER / "toyworld_bpe.txt.gz"
HEADER = "#version: 0.2"
END = "</w>"
BASE_TOKENS = 2 * 256 + 2
"""The bytes, the bytes at the end of a word, and the tokens of start and end."""


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merges in the order in which they are applied; the most frequent pair first, then by the alphabet."""
    pieces = [(*word[:-1], word[-1] + END) for word in words]
    merges = []
    while True:
        pairs = Counter(pair for word in pieces for pair in itertools.pairwise(word))
        if not pairs:
            return merges
        merge = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(merge)
        pieces = [_merged(word, merge) for word in pieces]


def _merged(word: tuple[str, ...], merge: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for piece in word:
        if out and (out[-1], piece) == merge:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)


def write_merges(path: Path, merges: Sequence[tuple[str, str]]) -> None:
    """The same bytes for the same merges."""
    text = "\n".join((HEADER, *(" ".join(merge) for merge in merges)))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    learned = learn_merges(caption_words())
    write_merges(FILE, learned)
    print(f"{FILE}: {len(caption_words())} words, {BASE_TOKENS + len(learned)} tokens")
