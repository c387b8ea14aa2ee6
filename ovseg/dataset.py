"""What a data set must do to be evaluated on. Needs no torch, so that data sets load fast in workers."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from ovseg.image import Image, Task
from ovseg.truth import Truth
from ovseg.vocabulary import Vocabulary


@runtime_checkable
class Dataset(Protocol):
    """Pictures with truth, in a fixed order.

    A data set may also say, by attributes of these names: `training_names`, the names of the classes of its
    training part, which divide the numbers of methods without training into seen and unseen; and
    `vocabulary_by_split`, whether its classes depend on the split.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that labels of the truth index, in the words of its publisher."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The views that it has truth for."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """A name for each picture, unique within the data set and the same on every machine."""
        ...

    def image(self, index: int) -> Image:
        """The picture, at the size at which it is evaluated.

        Raises:
            DataError: it cannot be read; the message names the file.
        """
        ...

    def truth(self, index: int) -> Truth:
        """Its truth. Called in worker processes, so a data set can be pickled.

        Raises:
            DataError: it cannot be read, has another size than the picture or labels outside the list.
        """
        ...

    def check(self) -> Iterable[str]:
        """What is wrong with it on disk, a line each, as it is found; nothing if all is well."""
        ...
