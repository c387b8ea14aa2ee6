"""Pictures and label files in the encodings of the data sets' publishers, for small trees."""

import numpy as np
import PIL.Image


def put_picture(path, size, seed=0):
    """A JPEG or PNG of noise, (height, width) pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    _save(PIL.Image.fromarray(pixels), path)
    return pixels


def put_palette(path, labels):
    """An 8-bit palette PNG, as VOC's and Mapillary's label maps are."""
    picture = PIL.Image.fromarray(np.asarray(labels, np.uint8)).convert("P")
    picture.putdata(np.asarray(labels, np.uint8).ravel().tolist())
    picture.putpalette(np.random.default_rng(5).integers(0, 256, 768).astype(np.uint8).tobytes())
    _save(picture, path)


def put_labels(path, labels, dtype=np.uint8):
    """A grey PNG or TIFF of 8 or 16 bits."""
    _save(PIL.Image.fromarray(np.asarray(labels).astype(dtype)), path)


def put_channels(path, *channels):
    """An RGB PNG of three label maps; what is left out is 0."""
    zero = np.zeros_like(channels[0])
    stacked = np.stack([*channels, *[zero] * (3 - len(channels))], axis=-1)
    _save(PIL.Image.fromarray(stacked.astype(np.uint8)), path)


def put_ids(path, ids):
    """A panoptic PNG."""
    put_channels(path, ids % 256, ids // 256 % 256, ids // 65536)


def pixels_of(path):
    """The values in a file, as Pillow has them."""
    with PIL.Image.open(path) as picture:
        return np.array(picture)


def _save(picture, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def noise(seed, size, values):
    """A map of some of these values, in blocks so that there are regions."""
    rng = np.random.default_rng(seed)
    height, width = size
    small = rng.choice(np.asarray(values), (-(-height // 4), -(-width // 4)))
    return np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)[:height, :width]
