"""How well toyworld's DINO tells which patches of a picture are in one segment, by their cosines."""

import copy

import numpy as np
import torch
from corpus import Corpus
from dino_model import normalised
from grouping import Grouping, cosines, grouping, patch_segments
from timm.models.vision_transformer import VisionTransformer

from ovseg.models.dino.encoder import Dino

PATCH = 16


def measure(backbone: VisionTransformer, corpus: Corpus, count: int) -> dict[str, float]:
    """Of the first pictures of a corpus, read by ovseg's own `Dino`; the backbone is left as it is."""
    encoder = Dino(vit=copy.deepcopy(backbone), weights_name=None)
    device = backbone.pos_embed.device

    def features(picture: np.ndarray) -> np.ndarray:
        dense = encoder(normalised(picture[None], device)).dense
        return dense[0].flatten(1).T.cpu().numpy()

    return _values(grouping(_pictures(corpus, count, features)))


def raw_patches(corpus: Corpus, count: int) -> dict[str, float]:
    """The same of the patches' pixels."""

    def features(picture: np.ndarray) -> np.ndarray:
        pixels = normalised(picture[None], torch.device("cpu"))[0]
        return (
            pixels.unfold(1, PATCH, PATCH)
            .unfold(2, PATCH, PATCH)
            .permute(1, 2, 0, 3, 4)
            .flatten(2)
            .flatten(0, 1)
            .numpy()
        )

    return _values(grouping(_pictures(corpus, count, features)))


def _pictures(corpus, count, features):
    for index in range(count):
        ids = np.asarray(corpus.ids(index))
        grid = (ids.shape[0] // PATCH, ids.shape[1] // PATCH)
        yield cosines(features(np.array(corpus.image(index)))), patch_segments(ids, grid)


def _values(found: Grouping) -> dict[str, float]:
    return {"auc": found.auc, "gap": found.within - found.across, "across": found.across}
