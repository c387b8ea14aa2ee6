"""Run folders as `ovseg evaluate` writes them, of predictions that are the truth, spoilt a little."""

import json
from dataclasses import dataclass

import numpy as np
import torch
import yaml

from ovseg.build import build_component
from ovseg.evaluation.subject import Subject
from ovseg.run.gallery import as_prediction
from ovseg.run.kept_predictions import KeptPredictions
from ovseg.run.metrics import scores_json, write_metrics
from ovseg.run.record_files import write_lines
from ovseg.run.run_folder import PictureLine
from ovseg.types import Instances, Panoptic, Prediction, Segment

EVALUATORS = ("panoptic_quality", "average_precision", "mean_iou")


@dataclass(frozen=True)
class Spoil:
    """Predicts the truth with some classes confused; how many and which depends on the seed alone.

    Attributes:
        seed: of the confusion.
        share: of the segments that get another class.
        lost: share of the segments that are not predicted at all.
    """

    seed: int
    share: float
    lost: float = 0.0

    def __call__(self, truth, vocabulary, index):
        random = np.random.default_rng((self.seed, index))
        stated = as_prediction(truth, vocabulary)
        relabel = np.where(
            random.random(len(vocabulary)) < self.share,
            random.integers(0, len(vocabulary), len(vocabulary)),
            np.arange(len(vocabulary)),
        )
        ids = np.roll(stated.panoptic.ids.numpy(), random.integers(-3, 4), axis=1)
        crowds = {segment.id for segment in truth.panoptic.segments if segment.is_crowd}
        segments, labels = [], np.full(ids.shape, -1, np.int32)
        for segment in stated.panoptic.segments:
            where = ids == segment.id
            if not where.any() or segment.id in crowds or random.random() < self.lost:
                ids = np.where(where, 0, ids)
                continue
            label = int(relabel[segment.label])
            labels[where] = label
            is_thing = vocabulary.classes[label].is_thing
            segments.append(Segment(segment.id, label, is_thing, 0.9, int(where.sum())))
        things = [segment for segment in segments if segment.is_thing]
        masks = np.array([ids == segment.id for segment in things], bool).reshape(-1, *ids.shape)
        return Prediction(
            vocabulary,
            truth.image_size,
            torch.from_numpy(labels),
            Panoptic(torch.from_numpy(ids.astype(np.int32)), tuple(segments)),
            Instances(
                torch.from_numpy(masks),
                torch.tensor([segment.label for segment in things], dtype=torch.int64),
                torch.from_numpy(random.uniform(0.4, 1.0, len(things)).astype(np.float32)),
            ),
        )


def write_run(
    folder,
    node,
    predict,
    *,
    evaluators=EVALUATORS,
    limit=None,
    tasks=("semantic", "panoptic", "instance"),
    predictions=True,
    is_seen=None,
    resamples=100,
    failing=(),
    seconds=0.5,
    protocol=(),
    arguments=None,
    published=None,
    device="cpu",
):
    """Evaluate `predict(truth, vocabulary, index)` and write what a run leaves; returns the folder.

    `protocol` are (dotted key, value) that are changed in what the run declares, `arguments` are put
    into the declaration of every evaluator.
    """
    dataset = build_component("datasets", node, path="dataset")
    vocabulary = dataset.vocabulary
    keys = list(dataset.keys)[:limit]
    subject = Subject(vocabulary, tuple(is_seen or (False,) * len(vocabulary)))
    metrics = {
        name: build_component("evaluators", {"name": name, "resamples": resamples}, [subject])
        for name in evaluators
    }
    kept = KeptPredictions(folder / "predictions", tasks)
    lines = []
    for index, key in enumerate(keys):
        if key in failing:
            lines.append(PictureLine(index, key, {}, {}, "the file is damaged"))
            continue
        truth = dataset.truth(index)
        prediction = predict(truth, vocabulary, index)
        records = {
            name: {**metric.measure(prediction, truth), "picture": index} for name, metric in metrics.items()
        }
        for name, metric in metrics.items():
            metric.update(records[name])
        lines.append(PictureLine(index, key, records, {"method": seconds}))
        if predictions:
            kept.save(key, prediction)
    used = [line.key for line in lines if line.error is None]
    folder.mkdir(parents=True, exist_ok=True)
    if predictions:
        kept.write_indices(used, vocabulary)
    write_lines(folder / "per_image.jsonl", lines)
    (folder / "config.yaml").write_text(yaml.safe_dump({"dataset": node}))
    content = {
        "format": 1,
        "name": folder.name,
        "protocol": {
            "dataset": {
                "name": node["name"],
                "split": node.get("split"),
                "pictures": len(keys),
                "keys_sha256": json.dumps(keys),
            },
            "vocabulary": {"name": vocabulary.name, "names": "plain", "templates_sha256": "0" * 64},
            "evaluators": {
                name: {"resamples": resamples, "rules": f"rules of {name}", **(arguments or {})}
                for name in evaluators
            },
        },
        "method": {"name": folder.name},
        "environment": {},
        "pictures": {
            "used": len(used),
            "skipped": [{"key": line.key, "reason": line.error} for line in lines if line.error],
        },
        "scores": {name: scores_json(metric.compute()) for name, metric in metrics.items()},
        "classes": [entry.name for entry in vocabulary.classes],
        "is_thing": [entry.is_thing for entry in vocabulary.classes],
        "is_seen": list(subject.is_seen),
        "published": published or {},
        "time": {
            "seconds_per_picture": seconds,
            "peak_gb": 1.5,
            "device": device,
            "processor": "a processor",
        },
    }
    for key, value in protocol:
        *inner, last = key.split(".")
        place = content["protocol"]
        for part in inner:
            place = place[part]
        place[last] = value
    write_metrics(folder / "metrics.json", content)
    return folder
