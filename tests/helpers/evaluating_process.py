"""One of two processes that evaluate drawn pictures together; also a program, for the second of them."""

import datetime
import sys

import torch.distributed as dist

from helpers.drawn_segments import SUBJECT, draw
from ovseg.evaluation.mean_iou import MeanIoU
from ovseg.evaluation.panoptic_quality import PanopticQuality

PICTURES = 9
SHARES_OF_THE_FIRST = (5, PICTURES)
METRICS = (PanopticQuality, MeanIoU)


def evaluate(rank, meeting_point):
    """Every digit of the results that this process sees, for each way to share the pictures."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting_point}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=100),
    )
    try:
        return "\n".join(
            text_of(make, range(share) if rank == 0 else range(share, PICTURES))
            for share in SHARES_OF_THE_FIRST
            for make in METRICS
        )
    finally:
        dist.destroy_process_group()


def text_of(make, seeds):
    metric = make(subject=SUBJECT, resamples=20)
    for seed in seeds:
        drawn = draw(seed)
        metric.update(metric.measure(drawn.prediction, drawn.truth))
    scores = metric.compute()
    return repr((scores.values, scores.per_class, scores.intervals, scores.pictures))


if __name__ == "__main__":
    print(evaluate(1, sys.argv[1]))
