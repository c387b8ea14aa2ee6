"""Open-vocabulary image segmentation: name any classes, get their masks.

    import ovseg

    method = ovseg.load_method("fcclip", device="cuda")
    prediction = method.predict("photo.jpg", ["cat", "dog|puppy", "stuff:grass"])
    prediction.semantic             # (height, width) class index per pixel, -1 where none was given
    prediction.panoptic.segments    # what each region is
    prediction.instances.masks      # (n, height, width)

Everything here is imported when it is first used, so that ``import ovseg`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovseg.data.find import find_images as find_images
    from ovseg.data.images import as_image as as_image
    from ovseg.data.images import read_image as read_image
    from ovseg.errors import OvsegError as OvsegError
    from ovseg.run.load import load_method as load_method
    from ovseg.run.predict import predict_files as predict_files
    from ovseg.types import Instances as Instances
    from ovseg.types import Panoptic as Panoptic
    from ovseg.types import Prediction as Prediction
    from ovseg.types import Segment as Segment
    from ovseg.vocabulary import ClassEntry as ClassEntry
    from ovseg.vocabulary import Vocabulary as Vocabulary
    from ovseg.vocabulary import load_vocabulary as load_vocabulary
    from ovseg.vocabulary import parse_classes as parse_classes
    from ovseg.vocabulary import read_vocabulary as read_vocabulary
    from ovseg.vocabulary import vocabulary_names as vocabulary_names

_HOME = {
    "load_method": "ovseg.run.load",
    "predict_files": "ovseg.run.predict",
    "find_images": "ovseg.data.find",
    "read_image": "ovseg.data.images",
    "as_image": "ovseg.data.images",
    "Prediction": "ovseg.types",
    "Panoptic": "ovseg.types",
    "Segment": "ovseg.types",
    "Instances": "ovseg.types",
    "Vocabulary": "ovseg.vocabulary",
    "ClassEntry": "ovseg.vocabulary",
    "load_vocabulary": "ovseg.vocabulary",
    "vocabulary_names": "ovseg.vocabulary",
    "parse_classes": "ovseg.vocabulary",
    "read_vocabulary": "ovseg.vocabulary",
    "OvsegError": "ovseg.errors",
}
"""Public name -> the module it lives in."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'ovseg' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
