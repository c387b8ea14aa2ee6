"""From matches to means over classes, whatever the protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ovseg.evaluation.class_sums import mean_defined
from ovseg.evaluation.groups import Group, harmonic_mean
from ovseg.evaluation.instance_matches import ClassMatches, Matches, by_class
from ovseg.interfaces import Record


@dataclass(frozen=True)
class Protocol:
    """How a class is judged; all numbers in 0..1, NaN where no true instance counts.

    Attributes:
        names: of the numbers, the headline ``AP`` first.
        names_per_class: those that are given for every class.
        weighted: matches and how often each picture counts (pictures, b) to numbers (names, b).
        once: matches to numbers (names,) with every picture counted once, by the published code.
    """

    names: tuple[str, ...]
    names_per_class: tuple[str, ...]
    weighted: Callable[[ClassMatches, Float[np.ndarray, "pictures b"]], Float[np.ndarray, "names b"]]
    once: Callable[[ClassMatches], Float[np.ndarray, " names"]] | None = None


class PrecisionTally:
    """Matches of all pictures; see `ovseg.evaluation.bootstrap.Tally`.

    Args:
        records: of each picture. ``picture`` is its number: where scores tie, the lower one goes first.
        protocol: how a class is judged.
        class_count: length of the vocabulary.
        groups: suffix of the metric's name -> its classes.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        protocol: Protocol,
        class_count: int,
        groups: Mapping[str, Group],
    ) -> None:
        self.pictures = len(records)
        self._protocol = protocol
        self._class_count = class_count
        self._groups = groups
        order = sorted(range(len(records)), key=lambda index: records[index].get("picture", 0))
        self._classes = by_class([Matches.from_record(record) for record in records], order)

    def values(
        self, weights: Float[np.ndarray, "pictures resamples"]
    ) -> Mapping[str, Float[np.ndarray, " resamples"]]:
        """Means over the classes that have a true instance, in 0..100."""
        once = weights.shape[1] == 1 and bool((weights == 1).all())
        numbers = self._once if once else self._weighted(weights)
        values = {
            f"{name}{suffix}": mean_defined(numbers[group, index])
            for suffix, group in self._groups.items()
            for index, name in enumerate(self._protocol.names)
        }
        if "/seen" in self._groups:
            values["AP/harmonic"] = harmonic_mean(values["AP/seen"], values["AP/unseen"])
        return values

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """Of every class, in 0..100; NaN where it has no true instance."""
        names = self._protocol.names
        return {name: self._once[:, names.index(name), 0].tolist() for name in self._protocol.names_per_class}

    @cached_property
    def _once(self) -> Float[np.ndarray, "k names 1"]:
        judge = self._protocol.once
        if judge is None:
            return self._weighted(np.ones((self.pictures, 1)))
        return self._of_classes(lambda matches: judge(matches)[:, None], 1)

    def _weighted(self, weights: Float[np.ndarray, "pictures b"]) -> Float[np.ndarray, "k names b"]:
        return self._of_classes(lambda matches: self._protocol.weighted(matches, weights), weights.shape[1])

    def _of_classes(
        self, judge: Callable[[ClassMatches], Float[np.ndarray, "names b"]], width: int
    ) -> Float[np.ndarray, "k names b"]:
        numbers = np.full((self._class_count, len(self._protocol.names), width), np.nan)
        for label, matches in self._classes.items():
            numbers[label] = 100 * judge(matches)
        return numbers
