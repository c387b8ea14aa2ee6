"""Which pictures a comparison shows, and what its runs say of them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Int
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pycocotools import mask as rle

from ovseg.build import build_component
from ovseg.errors import ConfigError, DataError
from ovseg.evaluation.bootstrap import point_values
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.interfaces import Dataset
from ovseg.progress import progress
from ovseg.report.colors import class_colors
from ovseg.report.comparison import Column, Comparison
from ovseg.report.gallery import MAP_SIDE, THUMBNAIL, Gallery, Panel, Shot, jpeg, panel, scaled, thumbnail
from ovseg.report.regions import View
from ovseg.run.paired import common_pictures, stored_evaluator, stored_vocabulary
from ovseg.run.run_folder import CONFIG, Run
from ovseg.run.stored_predictions import StoredPredictions, label_map
from ovseg.truth import Truth
from ovseg.types import Image, Instances, Panoptic, Prediction, Segment
from ovseg.vocabulary import Vocabulary

_READERS = 4
"""Threads that read predictions: decoding PNGs leaves Python's lock."""
_VIEWS: tuple[View, ...] = ("panoptic", "semantic", "instance")


@dataclass(frozen=True)
class _Shown:
    """A run whose predictions are there."""

    title: str
    predictions: StoredPredictions
    records: Mapping[str, Mapping[str, Any]]  # column title -> key -> record
    evaluators: Mapping[str, tuple[RecordMetric, str]]  # column title -> evaluator and its metric


def make_gallery(
    runs: Sequence[Run],
    comparison: Comparison,
    *,
    pictures: int,
    dataset: Mapping[str, Any] | None = None,
) -> Gallery:
    """Choose the pictures on which the methods disagree most, and draw them.

    What is not there (predictions that were not kept, pictures that are not on this machine) is left out and
    said in the gallery's remarks: the numbers stand without it.

    Args:
        runs: in the order of the comparison's rows.
        comparison: of them.
        pictures: how many to draw; 0 for none.
        dataset: node of the data set; None takes it from the config of the first run.

    Raises:
        DataError: predictions or pictures that are there are damaged.
    """
    nothing = class_colors(stored_vocabulary(runs[0]))
    if not pictures:
        return Gallery((), 0, nothing)
    remarks = _without_predictions(runs, comparison)
    having = [index for index, run in enumerate(runs) if run.predictions is not None]
    if not having:
        return Gallery((), 0, nothing, tuple(remarks))
    try:
        source = _dataset(runs[0], dataset)
        positions = {key: index for index, key in enumerate(source.keys)}
    except (DataError, ConfigError) as error:
        return Gallery((), 0, nothing, (*remarks, f"The pictures cannot be shown: {error}"))
    shown = [_shown(runs[index], index, comparison, source.vocabulary) for index in having]
    keys = [key for key in common_pictures(runs) if key in positions]
    apart = _disagreements(shown, keys)
    chosen = sorted(keys, key=lambda key: -(apart[key] or 0.0))[:pictures]
    with progress("Drawing", len(chosen), "pictures") as advance:
        shots = []
        for key in chosen:
            shots.append(_shot(source, positions[key], key, shown, apart[key]))
            advance(1)
    if not keys:
        remarks.append("There is no picture that all runs and the data set have.")
    return Gallery(tuple(shots), len(keys), class_colors(source.vocabulary), tuple(remarks))


def _without_predictions(runs: Sequence[Run], comparison: Comparison) -> list[str]:
    """A remark if runs have kept no predictions, with what to type."""
    lacking = [row.name for run, row in zip(runs, comparison.methods, strict=True) if run.predictions is None]
    if not lacking:
        return []
    if len(lacking) == len(runs):
        who = "No run has kept predictions"
    else:
        who = f"No predictions were kept by {', '.join(lacking)}"
    return [
        f"{who}, so there is nothing to draw. Evaluate again with predictions=true resume=false, then "
        "compare again."
    ]


def _dataset(run: Run, node: Mapping[str, Any] | None) -> Dataset:
    """The data set that a run was evaluated on.

    Raises:
        ConfigError, DataError: it cannot be built, is not on this machine, or has other classes.
    """
    if node is None:
        node = _stored_node(run)
    built: Dataset = build_component("datasets", node, path="dataset")
    if len(built.vocabulary) != len(run.metrics["classes"]):
        raise DataError(
            f"The data set has {len(built.vocabulary)} classes, the run was evaluated on "
            f"{len(run.metrics['classes'])}. Name the data set that it was evaluated on: dataset=NAME."
        )
    return built


def _stored_node(run: Run) -> Mapping[str, Any]:
    path = run.path / CONFIG
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        resolved: Any = OmegaConf.to_container(
            OmegaConf.create({"dataset": content["dataset"]}), resolve=True
        )
    except (OSError, KeyError, TypeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise DataError(
            f"{path} does not say where the pictures are ({error}). Name the data set: dataset=NAME."
        ) from error
    return {str(key): value for key, value in resolved["dataset"].items()}


def _shown(run: Run, index: int, comparison: Comparison, vocabulary: Vocabulary) -> _Shown:
    assert run.predictions is not None
    records, evaluators = {}, {}
    cells = comparison.methods[index].cells
    for column in _leading(comparison.headlines):
        metric = stored_evaluator(run, column.evaluator) if column.title in cells else None
        if metric is not None:
            records[column.title] = run.records(column.evaluator)
            evaluators[column.title] = (metric, column.metric)
    predictions = StoredPredictions(run.predictions, vocabulary)
    return _Shown(comparison.methods[index].name, predictions, records, evaluators)


def _leading(columns: Sequence[Column]) -> list[Column]:
    """The first metric of each evaluator, under each of its rules."""
    first: dict[str, str] = {}
    for column in columns:
        first.setdefault(column.evaluator, column.metric)
    return [column for column in columns if first[column.evaluator] == column.metric]


def _disagreements(shown: Sequence[_Shown], keys: Sequence[str]) -> dict[str, float | None]:
    """Key -> how much the methods differ there; None for a single method."""
    if len(shown) < 2:
        return dict.fromkeys(keys)

    def of(key: str) -> float:
        return disagreement([run.predictions.labels(key) for run in shown])

    found: dict[str, float | None] = {}
    with progress("Reading", len(keys), "predictions") as advance, ThreadPoolExecutor(_READERS) as pool:
        for key, share in zip(keys, pool.map(of, keys), strict=True):
            found[key] = share
            advance(1)
    return found


def disagreement(maps: Sequence[Int[np.ndarray, "_ _"]]) -> float:
    """Share of the pixels, in 0..1, on which two maps of classes differ, on average over pairs of maps."""
    return float(np.mean([np.mean(one != other) for one, other in combinations(maps, 2)]))


def _shot(dataset: Dataset, index: int, key: str, shown: Sequence[_Shown], apart: float | None) -> Shot:
    image, truth = dataset.image(index), dataset.truth(index)
    stated = as_prediction(truth, dataset.vocabulary)
    view, drawn = _same_view([stated, *(run.predictions.read(key) for run in shown)])
    size = (image.shape[0], image.shape[1])
    return Shot(
        key=key,
        size=scaled(size, THUMBNAIL),
        map_size=scaled(size, MAP_SIDE),
        jpeg=jpeg(thumbnail(image)),
        truth=panel("truth", image, drawn[0], view, {}),
        methods=tuple(
            _panel(run, key, image, prediction, view)
            for run, prediction in zip(shown, drawn[1:], strict=True)
        ),
        disagreement=apart,
    )


def _panel(run: _Shown, key: str, image: Image, prediction: Prediction, view: View) -> Panel:
    scores = {}
    for title, (evaluator, metric) in run.evaluators.items():
        value = point_values(evaluator.tally([run.records[title][key]])).get(metric)
        if value is not None and value == value:  # not NaN: the picture has no truth for it
            scores[title] = value
    return panel(run.title, image, prediction, view, scores)


def _same_view(predictions: Sequence[Prediction]) -> tuple[View, list[Prediction]]:
    """A view that all have; where there is none, a map of classes of each."""
    for view in _VIEWS:
        if all(_has(prediction, view) for prediction in predictions):
            return view, list(predictions)
    maps = (torch.from_numpy(label_map(prediction)) for prediction in predictions)
    return "semantic", [
        Prediction(prediction.vocabulary, prediction.image_size, labels)
        for prediction, labels in zip(predictions, maps, strict=True)
    ]


def _has(prediction: Prediction, view: View) -> bool:
    return getattr(prediction, "instances" if view == "instance" else view) is not None


def as_prediction(truth: Truth, vocabulary: Vocabulary) -> Prediction:
    """The truth in the form of a prediction, so that both are drawn alike."""
    panoptic, instances = None, None
    if truth.panoptic is not None:
        segments = tuple(
            Segment(segment.id, segment.label, vocabulary.classes[segment.label].is_thing, None, 0)
            for segment in truth.panoptic.segments
        )
        panoptic = Panoptic(torch.from_numpy(truth.panoptic.ids.astype(np.int32)), segments)
    if truth.instances is not None:
        masks = np.zeros((len(truth.instances), *truth.image_size), bool)
        for index, instance in enumerate(truth.instances):
            masks[index] = rle.decode(dict(instance.mask)).astype(bool)
        labels = torch.tensor([instance.label for instance in truth.instances], dtype=torch.int64)
        instances = Instances(torch.from_numpy(masks), labels, torch.ones(len(labels)))
    semantic = None if truth.semantic is None else torch.from_numpy(truth.semantic.astype(np.int32))
    return Prediction(vocabulary, truth.image_size, semantic, panoptic, instances)
