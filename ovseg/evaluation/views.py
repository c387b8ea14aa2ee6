"""What every evaluator checks before it compares a prediction with the truth."""

from typing import TypeVar

from ovseg.errors import DataError
from ovseg.truth import Truth
from ovseg.types import Prediction, Task

Predicted = TypeVar("Predicted")
Stated = TypeVar("Stated")


def check_pair(prediction: Prediction, truth: Truth, class_count: int) -> None:
    """Refuse a pair that cannot be compared.

    Args:
        prediction: of a picture.
        truth: of the same picture.
        class_count: length of the data set's vocabulary.

    Raises:
        DataError: they have different sizes, or the prediction another count of classes.
    """
    if prediction.image_size != truth.image_size:
        raise DataError(
            f"The prediction has {_size(prediction.image_size)} pixels (height x width), the truth "
            f"{_size(truth.image_size)}. They are compared pixel by pixel: predict the picture as the data "
            "set gives it."
        )
    if len(prediction.vocabulary) != class_count:
        raise DataError(
            f"The prediction is of {len(prediction.vocabulary)} classes ('{prediction.vocabulary.name}'), "
            f"the data set has {class_count}. Predict with the data set's classes, in its order."
        )


def both_views(predicted: Predicted | None, true: Stated | None, task: Task) -> tuple[Predicted, Stated]:
    """The two things to compare, which must be there.

    Raises:
        DataError: one is not.
    """
    if true is None:
        raise DataError(f"The data set has no {task} truth. Choose an evaluator of another task.")
    if predicted is None:
        raise DataError(f"The prediction has no {task} view. Add '{task}' to tasks.")
    return predicted, true


def check_labels(lowest: int, highest: int, whose: str, class_count: int, *, first: int = 0) -> None:
    """Refuse labels that are no class.

    Args:
        lowest: of the labels.
        highest: of the labels.
        whose: ``prediction`` or ``truth``.
        class_count: length of the data set's vocabulary.
        first: the lowest that is allowed; -1 where that says that there is no class.

    Raises:
        DataError: one is outside the list.
    """
    if lowest < first or highest >= class_count:
        raise DataError(
            f"The {whose} has the label {lowest if lowest < first else highest}. Labels count the data set's "
            f"{class_count} classes, from 0 to {class_count - 1}."
        )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
