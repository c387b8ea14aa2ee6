"""What a training can be told of FC-CLIP's losses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovseg.errors import ConfigError
from ovseg.models.fcclip.criterion import Criterion
from ovseg.models.fcclip.matcher import Weights
from ovseg.models.fcclip.point_sampling import PointPlan
from ovseg.suggest import did_you_mean, listed


@dataclass(frozen=True)
class LossOptions:
    """What `FCCLIP.start_training` can be told of the losses; the official values.

    Attributes:
        class_weight, mask_weight, dice_weight: of the losses and of the matcher's costs.
        void_weight: of proposals without target in the class loss.
        points, oversampling, uncertain_share: see `PointPlan`.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    void_weight: float = 0.1
    points: int = 12544
    oversampling: float = 3.0
    uncertain_share: float = 0.75

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> "LossOptions":
        """From the values of a config.

        Raises:
            ConfigError: an option is unknown, no number or out of its range.
        """
        given = dict(options or {})
        known = list(cls.__dataclass_fields__)
        for key, value in given.items():
            if key not in known:
                raise ConfigError(
                    f"fcclip has no training option '{key}'.{did_you_mean(key, known)} Allowed: "
                    f"{listed(known)}."
                )
            low, high, what = _ranges(key)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low <= value <= high or (key == "points" and value != int(value)):
                raise ConfigError(f"fcclip: the training option {key}={value} must be {what}.")
            given[key] = int(value) if key == "points" else float(value)
        return cls(**given)

    def criterion(self) -> Criterion:
        """The losses that they mean."""
        return Criterion(
            weights=Weights(class_=self.class_weight, mask=self.mask_weight, dice=self.dice_weight),
            void_weight=self.void_weight,
            plan=PointPlan(self.points, self.oversampling, self.uncertain_share),
        )


def _ranges(key: str) -> tuple[float, float, str]:
    """Least and greatest value of an option, and what it must be in words."""
    if key == "uncertain_share":
        return 0.0, 1.0, "in 0..1"
    if key == "oversampling":
        return 1.0, 100.0, "in 1..100"
    if key == "points":
        return 1.0, float(1 << 20), "a whole number in 1..1048576"
    return 0.0, 1e6, "in 0..1000000"
