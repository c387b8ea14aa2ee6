import csv
import json
import shutil

import numpy as np
import pytest
from helpers.dataset_files import put_ids, put_json, put_picture
from helpers.drawn_runs import EVALUATORS, Spoil, write_run

from ovseg.build import build_component
from ovseg.errors import ConfigError, DataError
from ovseg.evaluation.bootstrap import difference_intervals, point_values
from ovseg.evaluation.subject import Subject
from ovseg.report.comparison import Difference
from ovseg.run.compare import compare_runs
from ovseg.run.compare_files import write_comparison
from ovseg.run.gallery import disagreement, make_gallery
from ovseg.run.run_folder import read_run

CLASSES = ("cat", "dog", "grass", "sky")
IS_SEEN = (True, False, True, False)
PICTURES = 6


def node_of(root):
    return {"name": "folder", "root": str(root), "labels": None, "panoptic": "panoptic.json", "classes": None}


def put_dataset(root, names=CLASSES, pictures=PICTURES, size=(24, 32)):
    """Squares of classes, the first half of which are things."""
    images, annotations = [], []
    for number in range(pictures):
        key = f"p{number}"
        put_picture(root / "images" / f"{key}.png", size, seed=number)
        block = np.random.default_rng(number).integers(0, min(len(names), 4), (3, 4))
        ids = np.kron(block, np.ones((8, 8), int))[: size[0], : size[1]] + 1
        put_ids(root / "panoptic" / f"{key}.png", ids)
        segments = [{"id": int(id), "category_id": int(id)} for id in np.unique(ids)]
        images.append({"id": key, "file_name": f"{key}.png", "height": size[0], "width": size[1]})
        annotations.append({"image_id": key, "file_name": f"{key}.png", "segments_info": segments})
    categories = [
        {"id": index, "name": text, "isthing": int(index <= (len(names) + 1) // 2)}
        for index, text in enumerate(names, start=1)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    put_json(root / "panoptic.json", content)
    return node_of(root)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set, and runs that tests only read."""
    folder = tmp_path_factory.mktemp("made")
    node = put_dataset(folder / "data")
    published = {"PQ": {"value": 77.5, "source": "Table 1"}}
    write_run(folder / "good", node, Spoil(1, 0.2), is_seen=IS_SEEN, published=published)
    write_run(folder / "bad", node, Spoil(2, 0.6, 0.2), is_seen=IS_SEEN, seconds=0.25)
    write_run(folder / "other", node, Spoil(3, 0.4), predictions=False, device="cuda:0 (a GPU)")
    return folder


@pytest.fixture
def node(made):
    return node_of(made / "data")


def compare(*folders, baseline=None, resamples=50):
    runs = [read_run(folder) for folder in folders]
    return runs, compare_runs(runs, baseline=baseline, resamples=resamples)


def cell(comparison, row, title):
    return comparison.methods[row].cells[title]


def test_values_are_those_of_the_runs(made):
    runs, compared = compare(made / "good", made / "bad")
    assert [row.name for row in compared.methods] == ["good", "bad"]
    for run, row in zip(runs, compared.methods, strict=True):
        for column in compared.columns:
            scores = run.metrics["scores"][column.evaluator]
            value = scores["values"][column.metric]
            if value is None:
                assert column.title not in row.cells
                continue
            assert row.cells[column.title].value == value
            assert list(row.cells[column.title].interval) == scores["intervals"][column.metric]
        assert row.per_class["PQ"] == run.metrics["scores"]["panoptic_quality"]["per_class"]["PQ"]
    titles = [column.title for column in compared.headlines]
    assert titles[:5] == ["PQ", "SQ", "RQ", "PQ/things", "PQ/stuff"]
    assert {"AP", "AP50", "mIoU", "PQ/seen", "mIoU/unseen"} <= set(titles)
    assert cell(compared, 0, "PQ").published.value == 77.5
    assert cell(compared, 0, "PQ").is_best
    assert not cell(compared, 1, "PQ").is_best
    assert compared.notes == ()
    assert compared.same_machine


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_paired_differences_are_the_bootstrap_s_own(made, evaluator):
    runs, compared = compare(made / "good", made / "bad", baseline="bad", resamples=40)
    dataset = build_component("datasets", node_of(made / "data"))
    metric = build_component(
        "evaluators", {"name": evaluator, "resamples": 0}, [Subject(dataset.vocabulary, IS_SEEN)]
    )
    first, second = (metric.tally(list(run.records(evaluator).values())) for run in runs)
    intervals = difference_intervals(first, second, resamples=40)
    values = {name: value - point_values(second)[name] for name, value in point_values(first).items()}
    checked = 0
    for column in compared.columns:
        if column.evaluator == evaluator and column.title in compared.methods[0].cells:
            difference = cell(compared, 0, column.title).difference
            assert difference == Difference(values[column.metric], intervals[column.metric])
            assert cell(compared, 1, column.title).difference is None
            checked += 1
    assert checked > 4


def test_only_common_pictures_make_differences(made, node, tmp_path):
    write_run(tmp_path / "less", node, Spoil(1, 0.2), is_seen=IS_SEEN, failing=("p1", "p4"))
    runs, compared = compare(made / "bad", tmp_path / "less")
    assert compared.common == 4
    assert compared.methods[1].skipped == 2
    assert not any(cell.is_best for row in compared.methods for cell in row.cells.values())
    said = " ".join(note.text for note in compared.notes)
    assert "different pictures (bad 6, less 4): differences are over the 4 that all have" in said
    assert "Pictures that failed and count for nothing: less 2." in said
    # The spoilt truth of the common pictures is that of the run "good", which has them all.
    same, _ = compare(made / "bad", made / "good")
    dataset = build_component("datasets", node)
    metric = build_component(
        "evaluators", {"name": "mean_iou", "resamples": 0}, [Subject(dataset.vocabulary, IS_SEEN)]
    )
    kept = list(runs[1].records("mean_iou"))
    assert kept == ["p0", "p2", "p3", "p5"]
    over = [
        point_values(metric.tally([run.records("mean_iou")[key] for key in kept]))["mIoU"] for run in same
    ]
    assert cell(compared, 1, "mIoU").difference.value == over[1] - over[0]


def test_no_common_picture_no_difference(made, node, tmp_path):
    write_run(tmp_path / "one", node, Spoil(1, 0.2), failing=[f"p{number}" for number in range(3)])
    write_run(tmp_path / "two", node, Spoil(1, 0.2), failing=[f"p{number}" for number in range(3, 6)])
    _, compared = compare(tmp_path / "one", tmp_path / "two")
    assert compared.common == 0
    assert "none is common, so there are no differences" in compared.notes[-2].text
    assert all(cell.difference is None for row in compared.methods for cell in row.cells.values())


def test_other_words_make_a_note_at_the_method(made, node, tmp_path):
    changed = [("vocabulary.names", "trident"), ("vocabulary.templates_sha256", "ab" * 32)]
    for name in ("x", "y"):
        write_run(tmp_path / name, node, Spoil(1, 0.2), is_seen=IS_SEEN, protocol=changed)
    _, compared = compare(made / "good", tmp_path / "x", tmp_path / "y")
    assert [row.marks for row in compared.methods] == [(), ("a",), ("a",)]
    assert compared.notes[0].text == (
        "Not as good: names of the classes (trident instead of plain); prompt templates "
        "(abababab instead of 00000000)."
    )
    assert cell(compared, 1, "PQ").difference is not None


def test_other_splits_are_said(made, node, tmp_path):
    write_run(tmp_path / "x", node, Spoil(1, 0.2), protocol=[("dataset.split", "train")])
    _, compared = compare(made / "good", tmp_path / "x")
    assert "split (train instead of none)" in compared.notes[0].text


def test_other_rules_never_share_a_column(made, node, tmp_path):
    rules = [("evaluators.mean_iou.rules", "void counts")]
    write_run(tmp_path / "x", node, Spoil(1, 0.2), is_seen=IS_SEEN, protocol=rules)
    _, compared = compare(made / "good", tmp_path / "x")
    assert "mIoU" not in compared.methods[1].cells
    assert "mIoU (a)" not in compared.methods[0].cells
    assert cell(compared, 1, "mIoU (a)").difference is None
    assert cell(compared, 1, "PQ").difference is not None
    assert compared.notes[0].mark == "a"
    assert compared.notes[0].text == (
        "By other rules than for good: rules=void counts instead of rules of mean_iou."
    )


def test_other_training_parts_only_the_columns_of_training(made, node, tmp_path):
    write_run(tmp_path / "x", node, Spoil(1, 0.2), is_seen=(False, True, False, True))
    _, compared = compare(made / "good", tmp_path / "x")
    assert cell(compared, 1, "PQ").difference is not None
    assert cell(compared, 1, "PQ/seen (a)").difference is None
    assert compared.notes[0].text == "By other rules than for good: other classes were seen in training."


def test_other_resamples_are_no_other_rule(made, node, tmp_path):
    write_run(tmp_path / "x", node, Spoil(1, 0.2), is_seen=IS_SEEN, resamples=20)
    assert compare(made / "good", tmp_path / "x")[1].notes == ()


def test_machines(made):
    _, compared = compare(made / "good", made / "other")
    assert not compared.same_machine
    assert compared.notes[-1].text.startswith("Time and memory were measured on different machines")


def test_names_are_made_unique(made, node, tmp_path):
    write_run(tmp_path / "there" / "good", node, Spoil(3, 0.3))
    _, compared = compare(made / "good", tmp_path / "there" / "good", made / "bad")
    assert [row.name for row in compared.methods] == [f"{made.name}/good", "there/good", "bad"]


def test_what_cannot_be_compared_says_what_to_do(made, node, tmp_path):
    with pytest.raises(ConfigError, match=r"at least two runs, got 1. Name more: runs=\["):
        compare(made / "good")
    with pytest.raises(ConfigError, match="good is named twice"):
        compare(made / "good", made / "bad", made / "." / "good")
    with pytest.raises(ConfigError, match=r"baseline=god: no run is called so. Did you mean 'good'\?"):
        compare(made / "good", made / "bad", baseline="god")
    write_run(tmp_path / "x", node, Spoil(1, 0.2), protocol=[("dataset.name", "voc20")])
    with pytest.raises(
        DataError, match=r"'good' was evaluated on folder, 'x' on voc20.*models=\[...\] dataset="
    ):
        compare(made / "good", tmp_path / "x")
    other = put_dataset(tmp_path / "data", names=("cat", "dog", "grass", "sea"))
    write_run(tmp_path / "y", other, Spoil(1, 0.2))
    with pytest.raises(DataError, match="both evaluated on folder, but on different classes"):
        compare(made / "good", tmp_path / "y")


def test_damaged_and_unfinished_runs(made, tmp_path):
    shutil.copytree(made / "good", tmp_path / "cut")
    (tmp_path / "cut" / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"not finished\. Run the same 'ovseg evaluate' again"):
        compare(tmp_path / "cut", made / "bad")
    shutil.copytree(made / "good", tmp_path / "torn")
    (tmp_path / "torn" / "per_image.jsonl").write_text("{no json\n")
    with pytest.raises(DataError, match="line 1 is damaged"):
        compare(tmp_path / "torn", made / "bad")


def test_the_gallery_shows_where_the_methods_disagree(made):
    runs, compared = compare(made / "good", made / "bad")
    gallery = make_gallery(runs, compared, pictures=3)
    assert (len(gallery.shots), gallery.of) == (3, PICTURES)
    apart = [shot.disagreement for shot in gallery.shots]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 0
    assert [panel.title for panel in gallery.shots[0].methods] == ["good", "bad"]
    assert set(gallery.shots[0].methods[0].scores) == {"PQ", "AP", "mIoU"}
    everything = make_gallery(runs, compared, pictures=99)
    rest = [shot.disagreement for shot in everything.shots[3:]]
    assert max(rest) <= apart[-1]
    truth = everything.shots[0].truth.runs
    assert sum(truth[1::2]) == np.prod(everything.shots[0].map_size)
    assert set(truth[::2]) <= set(range(4))


def test_disagreement():
    zero = np.zeros((2, 2), np.int32)
    one = np.array([[1, 0], [0, 0]], np.int32)
    assert disagreement([zero, one]) == 0.25
    assert disagreement([zero, one, zero]) == pytest.approx(0.5 / 3)


def test_runs_without_predictions_or_pictures(made, node, tmp_path):
    runs, compared = compare(made / "good", made / "other")
    gallery = make_gallery(runs, compared, pictures=2)
    assert [panel.title for panel in gallery.shots[0].methods] == ["good"]
    assert gallery.shots[0].disagreement is None
    assert gallery.remarks[0].startswith("No predictions were kept by other, so")
    assert "predictions=true resume=false" in gallery.remarks[0]

    shutil.copytree(made / "other", tmp_path / "third")
    runs, compared = compare(made / "other", tmp_path / "third")
    gallery = make_gallery(runs, compared, pictures=2)
    assert gallery.shots == ()
    assert gallery.remarks[0].startswith("No run has kept predictions")

    runs, compared = compare(made / "good", made / "bad")
    gone = make_gallery(runs, compared, pictures=2, dataset={**node, "root": str(tmp_path / "gone")})
    assert gone.shots == ()
    assert "The pictures cannot be shown" in gone.remarks[0]
    assert make_gallery(runs, compared, pictures=0).remarks == ()


def test_views_that_not_all_have(made, node, tmp_path):
    """One run kept masks of instances alone, the other a semantic map: both are drawn as maps of classes."""
    write_run(tmp_path / "masks", node, Spoil(1, 0.2), tasks=("instance",))
    write_run(tmp_path / "map", node, Spoil(1, 0.2), tasks=("semantic",))
    runs, compared = compare(tmp_path / "masks", tmp_path / "map")
    shots = make_gallery(runs, compared, pictures=9).shots
    assert len(shots) == PICTURES
    for shot in shots:
        masks, labels = (panel.runs for panel in shot.methods)
        things = [value for value in labels[::2] if value in (0, 1)]
        assert set(masks[::2]) <= {-1, 0, 1}
        assert set(things) == set(masks[::2]) - {-1}


def test_damaged_predictions_are_named(made, tmp_path):
    shutil.copytree(made / "good", tmp_path / "good")
    (tmp_path / "good" / "predictions" / "semantic" / "p2.png").write_bytes(b"not a picture")
    runs, compared = compare(tmp_path / "good", made / "bad")
    with pytest.raises(DataError, match=r"prediction of 'p2' in .* cannot be read .* predictions=true"):
        make_gallery(runs, compared, pictures=2)


def test_single_pixels_and_many_classes(tmp_path):
    node = put_dataset(tmp_path / "data", [f"class {number}" for number in range(847)], 2, (1, 1))
    for name, seed in (("x", 1), ("y", 2)):
        write_run(tmp_path / name, node, Spoil(seed, 0.9), resamples=5)
    runs, compared = compare(tmp_path / "x", tmp_path / "y", resamples=5)
    gallery = make_gallery(runs, compared, pictures=5)
    assert [shot.size for shot in gallery.shots] == [(1, 1)] * 2
    write_comparison(tmp_path / "out", compared, gallery, digits=1)
    with (tmp_path / "out" / "comparison.csv").open() as file:
        assert len(list(csv.reader(file))) == 3
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(content["classes"]) == 847
