"""The learning rate over a run: linear warm-up, then steps down, at shares of the run.

Source: detectron2's `WarmupMultiStepLR`, which Mask2Former and FC-CLIP are trained with. There the steps are
iterations; as shares of all iterations they also fit shorter runs.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The factor on the learning rate at every iteration; it has no state, so a resumed run needs none.

    Attributes:
        iterations: of the whole run.
        drops: shares of the run, in 0..1, after which the rate falls; rounded to whole iterations.
        drop_factor: what each of them multiplies the rate by.
        warmup: iterations at the start over which the factor grows linearly to 1.
        warmup_factor: the factor at iteration 0.
    """

    iterations: int
    drops: Sequence[float] = ()
    drop_factor: float = 0.1
    warmup: int = 0
    warmup_factor: float = 1.0

    @property
    def milestones(self) -> list[int]:
        """The first iterations, counted from 0, of the lower rates."""
        return sorted(round(share * self.iterations) for share in self.drops)

    def factor(self, iteration: int) -> float:
        """For the iteration with this number, counted from 0."""
        dropped: float = self.drop_factor ** bisect_right(self.milestones, iteration)
        if iteration >= self.warmup:
            return dropped
        share = iteration / self.warmup
        return dropped * (self.warmup_factor * (1 - share) + share)
