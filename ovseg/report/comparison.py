"""Runs side by side: what tables and pages show, whatever their format. Plain values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A method's value minus the baseline's, over the pictures that all runs have.

    Attributes:
        value: in points (values are in 0..100).
        interval: the paired 95 % bootstrap interval; None without one.
    """

    value: float
    interval: Interval | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Published:
    """A number of the literature and where it stands."""

    value: float
    source: str


@dataclass(frozen=True)
class Cell:
    """One number of one method.

    Attributes:
        value: in 0..100, exactly as the run has it.
        interval: its 95 % bootstrap interval over pictures, None without one.
        published: what the method's authors report, None if nothing.
        difference: to the baseline; None for the baseline and where the two cannot be compared.
        is_best: whether no method in this column is better; False where they cannot be ranked.
    """

    value: float
    interval: Interval | None = None
    published: Published | None = None
    difference: Difference | None = None
    is_best: bool = False


@dataclass(frozen=True)
class Column:
    """One number that methods have.

    Attributes:
        title: unique in the table: the metric, with the evaluator where two give it, and a letter where
            methods were evaluated by different rules.
        metric: ``PQ``, ``PQ/things``.
        evaluator: that gives it.
        is_headline: whether it is for people; the others are for programs.
    """

    title: str
    metric: str
    evaluator: str
    is_headline: bool


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes:
        seconds: of the method per picture, None where nobody measured.
        peak_gb: most memory, None where nobody measured.
        device, processor: that it ran on.
    """

    seconds: float | None
    peak_gb: float | None
    device: str
    processor: str

    @property
    def machine(self) -> str:
        """Device and processor in one text."""
        return ", ".join(dict.fromkeys(text for text in (self.device, self.processor) if text)) or "unknown"


@dataclass(frozen=True)
class MethodRow:
    """One run.

    Attributes:
        name: unique in the comparison.
        path: of its folder.
        marks: of the notes that are about it.
        cells: column title -> number; a column that it has no number for is absent.
        per_class: column title -> one number per class, None where it is not defined.
        cost: time and memory.
        pictures: that its numbers are over.
        skipped: pictures that failed.
    """

    name: str
    path: str
    marks: tuple[str, ...]
    cells: Mapping[str, Cell]
    per_class: Mapping[str, Sequence[float | None]]
    cost: Cost
    pictures: int
    skipped: int


@dataclass(frozen=True)
class Note:
    """What a reader must know; `mark` is the letter in the table, empty for what is about all of it."""

    mark: str
    text: str


@dataclass(frozen=True)
class ClassFacts:
    """One class of the data set.

    Attributes:
        name: for people.
        is_thing: countable.
        is_seen: by the baseline in training; None where the baseline makes no such division.
    """

    name: str
    is_thing: bool
    is_seen: bool | None


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        dataset: name of the data set, with its split.
        protocol: (what, how) that holds for all methods, for people.
        baseline: name of the method that differences are to.
        common: pictures that all runs have.
        resamples: of the paired intervals.
        columns: in the order of the table, headlines first.
        per_class: titles of the columns that have numbers per class.
        methods: in the order they were asked for.
        classes: of the data set.
        notes: in the order of their marks.
        same_machine: whether times and memory can be compared.
    """

    dataset: str
    protocol: tuple[tuple[str, str], ...]
    baseline: str
    common: int
    resamples: int
    columns: tuple[Column, ...]
    per_class: tuple[str, ...]
    methods: tuple[MethodRow, ...]
    classes: tuple[ClassFacts, ...]
    notes: tuple[Note, ...]
    same_machine: bool

    @property
    def headlines(self) -> tuple[Column, ...]:
        """The columns for people."""
        return tuple(column for column in self.columns if column.is_headline)


def number(value: float, digits: int) -> str:
    """``26.8``; a zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float, digits: int) -> str:
    """``+1.2`` or ``−0.3``, with a true minus."""
    text = number(value, digits)
    return text.replace("-", "−") if text.startswith("-") else f"+{text}"


def interval_text(interval: Interval, digits: int) -> str:
    """``[25.1, 28.0]``, with true minuses."""
    low, high = (number(end, digits).replace("-", "−") for end in interval)
    return f"[{low}, {high}]"
