"""A method asked for pictures: which errors are one picture's and which end the run."""

from collections.abc import Sequence

import torch

from ovseg.errors import ConfigError, OutputError, OvsegError, PluginError, VocabularyError, WeightsError
from ovseg.interfaces import Method
from ovseg.types import Image, Prediction, Task
from ovseg.vocabulary import Vocabulary

# No picture is to blame for these, so they end the run instead of failing on every picture anew.
_FATAL = (ConfigError, OutputError, PluginError, VocabularyError, WeightsError)


def attempt(
    method: Method, images: Sequence[Image], vocabulary: Vocabulary, tasks: Sequence[Task]
) -> tuple[list[Prediction], str | None]:
    """The predictions and None, or nothing and the reason, in words for the user.

    Raises:
        OvsegError: an error that every picture would meet.
    """
    try:
        predictions = method.predict_batch(images, vocabulary, tasks=tasks)
    except _FATAL:
        raise
    except OvsegError as error:
        return [], str(error)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    else:
        _require_views(predictions, tasks)
        return predictions, None
    # Out here, where the error no longer holds on to the tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [], out_of_memory(images[0], vocabulary)


def out_of_memory(image: Image, vocabulary: Vocabulary) -> str:
    """What to tell the user of a picture that does not fit."""
    height, width = image.shape[:2]
    return (
        f"the memory does not suffice for this picture of {width} x {height} pixels and {len(vocabulary)} "
        "classes. Scale it down, ask for less at once (tasks=[semantic]), or use a smaller number format "
        "(runtime.precision=bf16)."
    )


def _require_views(predictions: Sequence[Prediction], tasks: Sequence[Task]) -> None:
    for task in tasks:
        view = "instances" if task == "instance" else task
        if any(getattr(prediction, view) is None for prediction in predictions):
            rest = ",".join(other for other in tasks if other != task)
            raise ConfigError(f"The method gives no {task} result. Leave it out: tasks=[{rest}].")


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    # torch has no class of its own for the CPU.
    return "can't allocate memory" in str(error)
