"""What is known of a data set without its files: for ``ovseg ls`` and for counting."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Facts of a data set's publisher.

    Attributes:
        title: one line for people.
        source: the page to download it from.
        licence: the page with its terms.
        pictures: split -> how many pictures it has; splits that are left out have no known count.
    """

    title: str
    source: str
    licence: str
    pictures: Mapping[str, int]
