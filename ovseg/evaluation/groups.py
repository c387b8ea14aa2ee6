"""The classes that a number is about: all, things, stuff, seen and unseen in training."""

import numpy as np
from jaxtyping import Bool, Float

from ovseg.evaluation.class_sums import ratio
from ovseg.evaluation.subject import Subject

Group = Bool[np.ndarray, " k"]
"""Per class of the vocabulary, whether it belongs."""


def class_groups(subject: Subject, *, by_kind: bool) -> dict[str, Group]:
    """Suffix of the metric's name -> its classes: `` `` for all, ``/seen`` and ``/unseen``.

    A division is left out where one side of it is empty: there is then nothing to tell apart.

    Args:
        subject: the classes.
        by_kind: whether there are ``/things`` and ``/stuff`` too.
    """
    groups = {"": np.ones(len(subject.vocabulary), dtype=bool)}
    if by_kind:
        is_thing = np.array([entry.is_thing for entry in subject.vocabulary.classes])
        groups |= _division("/things", "/stuff", is_thing)
    return groups | _division("/seen", "/unseen", np.array(subject.is_seen))


def harmonic_mean(first: Float[np.ndarray, " b"], second: Float[np.ndarray, " b"]) -> Float[np.ndarray, " b"]:
    """What joins seen and unseen classes in zero-shot segmentation: low if either is low, 0 if both are 0."""
    return ratio(2 * first * second, first + second, undefined=0.0)


def _division(name: str, rest_name: str, members: Group) -> dict[str, Group]:
    return {name: members, rest_name: ~members} if members.any() and not members.all() else {}
