"""The pictures of the READMEs: scenes beside what FC-CLIP and Trident make of them.

python benchmarks/toyworld/figures.py        # writes docs/images/*.jpg
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

import ovseg
from ovseg.data.toyworld.scene import draw_scene
from ovseg.data.toyworld.words import HIDDEN_THINGS, toyworld_vocabulary
from ovseg.report.overlay import draw_regions
from ovseg.types import Image
from ovseg.vocabulary import ClassEntry, Vocabulary

FOLDER = Path("docs/images")
SIDE = 384
GAP = 8
MODELS = ("fcclip_toyworld", "trident_toyworld")
VAL = (7, 13, 17)
"""Places of the split val in the first figure; chosen for their variety, before any result was seen."""
TYPED = 3
"""The second figure shows the first pictures of the split surprise, that many."""


def panels(pictures: Sequence[Image], vocabularies: Sequence[Vocabulary]) -> Image:
    """A row per picture: the picture, then each model's panoptic overlay."""
    methods = [ovseg.load_method(model) for model in MODELS]
    rows = []
    for picture, vocabulary in zip(pictures, vocabularies, strict=True):
        drawn = [draw_regions(picture, one.predict(picture, vocabulary), max_side=SIDE) for one in methods]
        rows.append(_beside([picture, *drawn]))
    return np.concatenate([part for row in rows for part in (row, _white(GAP, row.shape[1]))][:-1])


def _beside(images: Sequence[Image]) -> Image:
    parts = [part for image in images for part in (image, _white(image.shape[0], GAP))]
    return np.concatenate(parts[:-1], axis=1)


def _white(height: int, width: int) -> Image:
    return np.full((height, width, 3), 255, np.uint8)


def typed_classes() -> Vocabulary:
    """The whole vocabulary, and the hidden classes as a user would type them."""
    known = toyworld_vocabulary()
    hidden = tuple(ClassEntry((name,)) for name in HIDDEN_THINGS)
    return Vocabulary(name="typed", classes=known.classes + hidden)


def main() -> None:
    """Draw both figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    val = [draw_scene("val", index, SIDE).image for index in VAL]
    surprises = [draw_scene("surprise", index, SIDE).image for index in range(TYPED)]
    figures = {
        "toyworld.jpg": panels(val, [toyworld_vocabulary()] * len(val)),
        "typed.jpg": panels(surprises, [typed_classes()] * TYPED),
    }
    for name, figure in figures.items():
        PIL.Image.fromarray(figure).save(FOLDER / name, quality=88, optimize=True)
        print(FOLDER / name)


if __name__ == "__main__":
    main()
