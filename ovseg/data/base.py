"""What the data sets share: a list of pictures found once, sizes compared, and a look at every file.

A subclass says where its files are (`_find`), what its labels mean (`_read`) and what its publisher says of
it (`info`). Nothing is read from disk before the first use, so that a data set whose files are elsewhere can
be built, listed and asked what it lacks. What was read travels along when it is pickled: send it once per
worker, not once per picture.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ovseg.data.checking import absent_files, check_pictures, wrong_count
from ovseg.data.images import image_size, read_image
from ovseg.data.info import DatasetInfo
from ovseg.data.preparation import Preparation
from ovseg.errors import AbsentDataError, DataError
from ovseg.image import Image, Task
from ovseg.truth import Truth
from ovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Item:
    """One picture of a data set.

    Attributes:
        key: its name, unique within the data set; the same on every machine.
        image: its file.
        labels: the files with its truth, in the order that the data set says; empty where it has an index.
    """

    key: str
    image: Path
    labels: tuple[Path, ...] = ()


class BaseDataset(ABC):
    """A data set in a folder.

    Args:
        root: the folder that holds it, as its publisher's archives unpack.
        split: which part of it: one of `info.pictures`, or another that has a folder or a file.
    """

    def __init__(self, *, root: Path, split: str) -> None:
        self.root = root.expanduser()
        self.split = split

    @property
    @abstractmethod
    def info(self) -> DatasetInfo:
        """What is known of it without its files."""

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """See `ovseg.interfaces.Dataset`. Where it is a built-in list it has that list's name, by which a
        run finds the names and templates that a method is evaluated with."""

    @property
    @abstractmethod
    def tasks(self) -> tuple[Task, ...]:
        """See `ovseg.interfaces.Dataset`."""

    @abstractmethod
    def _find(self) -> Sequence[Item]:
        """The pictures in their order, from folders, list files or an index, without opening pictures.

        Raises:
            AbsentDataError: what it needs is not there; says what was looked for and what to do.
            DataError: it is damaged.
        """

    @abstractmethod
    def _read(self, index: int) -> Truth:
        """The truth as its files have it; `truth` compares its size with the picture's.

        Raises:
            DataError: as `truth`.
        """

    @property
    def place(self) -> Path | None:
        """The folder that it is in, None where it is not, told without reading a file."""
        return self.root if self.root.is_dir() else None

    @property
    def preparations(self) -> Sequence[Preparation]:
        """What ``ovseg prepare`` makes for it; empty if it needs nothing."""
        return ()

    @cached_property
    def items(self) -> Sequence[Item]:
        """The pictures in their order; found at the first use and kept.

        Raises:
            AbsentDataError: nothing is there.
            DataError: what is there is not this data set, or damaged.
        """
        if not self.root.is_dir():
            raise AbsentDataError(self._not_there(self.root))
        found = self._find()
        if not found:
            part = f" of the split '{self.split}'" if self.split else ""
            raise DataError(f"{self.root} has no picture{part}. {self._advice}")
        return found

    @property
    def keys(self) -> Sequence[str]:
        """See `ovseg.interfaces.Dataset`."""
        return [item.key for item in self.items]

    def image(self, index: int) -> Image:
        """See `ovseg.interfaces.Dataset`."""
        return read_image(self.items[index].image)

    def truth(self, index: int) -> Truth:
        """See `ovseg.interfaces.Dataset`."""
        truth = self._read(index)
        size = self.image_size(index)
        if size != truth.image_size:
            raise DataError(
                f"{self.items[index].image} has {size[1]} x {size[0]} pixels, its labels have "
                f"{truth.image_size[1]} x {truth.image_size[0]}. One of them is another picture's or was "
                "resized: get both again."
            )
        return truth

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels at which a picture is evaluated, from the head of its file."""
        return image_size(self.items[index].image)

    def check(self) -> Iterator[str]:
        """See `ovseg.interfaces.Dataset`; opens every file."""
        missing = list(self.missing())
        yield from missing
        try:
            items = self.items
        except DataError:
            return  # already said
        yield from check_pictures(self.truth, [(item.image, *item.labels) for item in items])

    def missing(self) -> Iterator[str]:
        """What can be said without opening pictures and labels: as `check`, in a moment."""
        try:
            items = self.items
        except DataError as error:
            yield str(error)
            return
        for preparation in self.preparations:
            if preparation.state == "half":
                yield (
                    f"{preparation.folder}: {preparation.what} are half made. Run 'ovseg prepare' again; it "
                    "goes on where it stopped."
                )
        yield from absent_files("pictures", [item.image for item in items])
        yield from absent_files("labels", [path for item in items for path in item.labels])
        yield from wrong_count(len(items), self.info.pictures.get(self.split), self.split, self.info.source)

    def _not_there(self, path: Path) -> str:
        return f"{path} is not there. {self._advice}"

    @property
    def _advice(self) -> str:
        return (
            f"Download {self.info.title} from {self.info.source}, unpack it, and give its folder: "
            "dataset.root=DIR, or set OVSEG_DATA to the folder of all data sets."
        )
