import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.fake_method import FakeMethod, label_map
from pycocotools import mask as rle
from pycocotools.coco import COCO

from ovseg.data.find import find_images
from ovseg.data.images import read_image
from ovseg.errors import ConfigError, DataError, OutputError, VocabularyError, WeightsError
from ovseg.interfaces import Method
from ovseg.run.predict import predict_files
from ovseg.vocabulary import ClassEntry, Vocabulary

ANIMALS = Vocabulary(
    "animals",
    (
        ClassEntry(("cat",), id=17),
        ClassEntry(("dog", "puppy"), id=18),
        ClassEntry(("grass",), is_thing=False, id=193),
    ),
)


def picture(seed, height=48, width=64):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height // 16, width // 16, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        PIL.Image.fromarray(picture(number)).save(folder / f"{number:012d}.png")
    return sorted(folder.iterdir())


def run(photos, output, method=None, vocabulary=ANIMALS, **options):
    return predict_files(method or FakeMethod(), vocabulary, inputs=photos, output=output, **options)


def pixels(path):
    with PIL.Image.open(path) as opened:
        return np.asarray(opened)


def decode(code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools' own, of numpy 2
        return rle.decode(code).astype(bool)


def load(path):
    return json.loads(path.read_bytes())


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_the_fake_is_a_method():
    assert isinstance(FakeMethod(), Method)


def test_every_file_is_there_and_right(photos, tmp_path):
    output = tmp_path / "out"
    summary = run(photos, output, method_settings={"name": "fake"})
    assert (summary.done, summary.resumed, summary.failed, summary.exit_code) == (5, 0, (), 0)
    expected = label_map(picture(3), 3)
    name = photos[3].stem

    semantic = pixels(output / "semantic" / f"{name}.png")
    assert semantic.dtype == np.uint8
    np.testing.assert_array_equal(semantic, np.where(expected < 0, 255, expected))

    rgb = pixels(output / "panoptic" / f"{name}.png").astype(int)
    ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    panoptic = load(output / "panoptic.json")
    assert [category["id"] for category in panoptic["categories"]] == [17, 18, 193]
    assert panoptic["categories"][2] == {"id": 193, "name": "grass", "synonyms": ["grass"], "isthing": 0}
    [annotation] = [entry for entry in panoptic["annotations"] if entry["image_id"] == 3]
    assert annotation["file_name"] == f"{name}.png"
    assert {info["id"] for info in annotation["segments_info"]} == set(np.unique(ids)) - {0}
    for info in annotation["segments_info"]:
        label = [17, 18, 193].index(info["category_id"])
        np.testing.assert_array_equal(ids == info["id"], expected == label)
        assert info["area"] == (expected == label).sum()
        rows, columns = np.nonzero(expected == label)
        x, y = columns.min(), rows.min()
        assert info["bbox"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
        assert info["iscrowd"] == 0

    coco = COCO(output / "instances.json")
    assert coco.imgs[3] == {"id": 3, "file_name": photos[3].name, "height": 48, "width": 64}
    found = coco.imgToAnns[3]
    assert len(found) == len(np.unique(expected[expected >= 0]))
    for instance in found:
        label = [17, 18, 193].index(instance["category_id"])
        assert isinstance(instance["segmentation"]["counts"], str)
        np.testing.assert_array_equal(decode(instance["segmentation"]), expected == label)
        assert instance["area"] == (expected == label).sum()
        assert instance["score"] == pytest.approx(np.linspace(0.9, 0.4, len(found))[found.index(instance)])
    assert len({entry["id"] for entry in coco.dataset["annotations"]}) == len(coco.dataset["annotations"])

    overlay = pixels(output / "overlay" / f"{name}.png")
    assert overlay.shape[0] >= 48
    assert overlay.shape[1] >= 64


def test_the_index_says_what_was_made_and_how(photos, tmp_path):
    run(photos[::-1], tmp_path / "out", method_settings={"name": "fake", "weights": "none"})
    index = load(tmp_path / "out" / "predictions.json")
    assert index["method"] == {"name": "fake", "weights": "none"}
    assert index["tasks"] == ["semantic", "panoptic", "instance"]
    assert index["ovseg"][0].isdigit()
    assert len(index["settings_sha256"]) == 64
    assert index["semantic_ignore_value"] == 255
    assert index["vocabulary"] == {"name": "animals", "templates": None}
    assert index["classes"][1] == {
        "index": 1,
        "category_id": 18,
        "name": "dog",
        "synonyms": ["dog", "puppy"],
        "isthing": 1,
    }
    assert [entry["input"] for entry in index["pictures"]] == [str(path) for path in photos[::-1]]
    entry = index["pictures"][1]
    assert (entry["image_id"], entry["height"], entry["width"]) == (3, 48, 64)
    assert entry["files"] == {
        "overlay": f"overlay/{photos[3].stem}.png",
        "semantic": f"semantic/{photos[3].stem}.png",
        "panoptic": f"panoptic/{photos[3].stem}.png",
        "instances": f"instances/{photos[3].stem}.json",
    }
    assert entry["stages"] == {"fake": 0.25}
    assert entry["seconds"] >= 0
    assert entry["segments"] == entry["instances"] == len(np.unique(label_map(picture(3), 3).clip(0)))
    assert all((tmp_path / "out" / name).is_file() for name in entry["files"].values())


@pytest.mark.parametrize(
    ("tasks", "folders"),
    [
        (["semantic"], {"semantic"}),
        (["instance", "panoptic"], {"panoptic", "instances"}),
        (["panoptic"], {"panoptic"}),
    ],
)
def test_only_what_is_asked_for_is_written(photos, tmp_path, tasks, folders):
    output = tmp_path / "out"
    run(photos, output, tasks=tasks, overlay=False)
    assert {path.name for path in output.iterdir() if path.is_dir()} == {*folders, "records"}
    assert (output / "panoptic.json").exists() == ("panoptic" in tasks)
    assert (output / "instances.json").exists() == ("instance" in tasks)


def test_more_than_255_classes_need_16_bits(tmp_path):
    image = picture(0, 64, 64)
    image[:16, :16] = 255  # nothing
    image[16:32, :16] = (254, 0, 0)
    image[32:48, :16] = (255, 0, 0)
    PIL.Image.fromarray(image).save(tmp_path / "x.png")
    many = Vocabulary("many", tuple(ClassEntry((f"class {number}",)) for number in range(300)))
    run([tmp_path / "x.png"], tmp_path / "out", vocabulary=many)
    values = pixels(tmp_path / "out" / "semantic" / "x.png")
    assert values.dtype == np.uint16
    assert [values[0, 0], values[16, 0], values[32, 0]] == [65535, 254, 255]
    assert load(tmp_path / "out" / "predictions.json")["semantic_ignore_value"] == 65535
    # Without ids of its own, a class has its index.
    assert {a["category_id"] for a in load(tmp_path / "out" / "instances.json")["annotations"]} <= set(
        range(300)
    )


def test_pictures_of_one_size_are_batched_with_equal_results(tmp_path):
    sizes = [(48, 64), (64, 48), (48, 64), (48, 64), (64, 48), (32, 32), (48, 64)]
    for number, (height, width) in enumerate(sizes):
        PIL.Image.fromarray(picture(number, height, width)).save(tmp_path / f"p{number}.png")
    photos = sorted(tmp_path.glob("*.png"))
    one, three = FakeMethod(), FakeMethod()
    run(photos, tmp_path / "one", one)
    run(photos, tmp_path / "three", three, batch_size=3)
    assert one.batches == [(1, *size) for size in sizes]
    assert sorted(three.batches) == [(1, 32, 32), (1, 48, 64), (2, 64, 48), (3, 48, 64)]
    for kind in ("overlay", "semantic", "panoptic", "instances"):
        assert contents(tmp_path / "one" / kind) == contents(tmp_path / "three" / kind)
    for name in ("panoptic.json", "instances.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
    index = load(tmp_path / "three" / "predictions.json")
    assert [Path(entry["input"]).name for entry in index["pictures"]] == [path.name for path in photos]


def test_bad_pictures_are_skipped_and_reported(photos, tmp_path, caplog):
    photos[1].write_bytes(b"no picture at all")
    photos[2].write_bytes(photos[2].read_bytes()[:60])
    missing = photos[0].parent / "missing.png"
    output = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        summary = run([*photos, missing], output)
    assert summary.done == 3
    assert summary.exit_code == 1
    assert [failure.path for failure in summary.failed] == [photos[1], photos[2], missing]
    text = str(summary)
    assert text.startswith("3 pictures predicted in ")
    assert f"results in {output}\n3 pictures failed:\n  {photos[1]} is not a picture that can be read" in text
    assert f"  {photos[2]} is damaged and cannot be decoded" in text
    assert f"  {missing} does not exist. Check the spelling" in text
    assert f"Skipped: {photos[1]} is not a picture" in caplog.text
    index = load(output / "predictions.json")
    assert "is not a picture that can be read" in index["pictures"][1]["error"]
    assert "files" not in index["pictures"][1]
    assert len(load(output / "panoptic.json")["annotations"]) == 3
    assert len(load(output / "instances.json")["images"]) == 3


def test_a_picture_that_was_mended_is_done_by_the_next_run(photos, tmp_path):
    good = photos[1].read_bytes()
    photos[1].write_bytes(b"")
    assert run(photos, tmp_path / "out").exit_code == 1
    photos[1].write_bytes(good)
    summary = run(photos, tmp_path / "out")
    assert (summary.done, summary.resumed, summary.exit_code) == (1, 4, 0)
    assert ", 4 finished before, results in" in str(summary)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("this one is too strange"), "000000000002.png: this one is too strange"),
        (
            MemoryError(),
            "000000000002.png: the memory does not suffice for this picture of 64 x 48 pixels and 3 classes.",
        ),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory"),
            "Scale it down, ask for less at once (tasks=[semantic])",
        ),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried"),
            "the memory does not suffice",
        ),
    ],
)
def test_a_picture_that_the_method_cannot_do_fails_alone(photos, tmp_path, error, message, batch_size):
    method = FakeMethod(errors={round(float(picture(2)[..., 0].mean())): error})
    summary = run(photos, tmp_path / "out", method, batch_size=batch_size)
    assert summary.done == 4
    assert [failure.path for failure in summary.failed] == [photos[2]]
    assert message in str(summary)


@pytest.mark.parametrize(
    "error",
    [VocabularyError("a name is too long"), WeightsError("broken"), ConfigError("x"), RuntimeError("a bug")],
)
def test_what_no_picture_is_to_blame_for_ends_the_run(photos, tmp_path, error):
    method = FakeMethod(errors={round(float(picture(2)[..., 0].mean())): error})
    with pytest.raises(type(error)) as caught:
        run(photos, tmp_path / "out", method)
    assert caught.value is error
    assert len(list((tmp_path / "out" / "records").iterdir())) == 2  # what was done before is kept


def test_too_little_memory_for_the_files_of_a_picture(photos, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr("ovseg.run.predict.encode_results", fail)
    summary = run(photos[:1], tmp_path / "out")
    assert "the memory does not suffice" in str(summary)


def test_a_method_that_does_not_give_what_is_asked_for(photos, tmp_path):
    class NoInstances(FakeMethod):
        def predict_batch(self, images, vocabulary, *, tasks):
            return super().predict_batch(images, vocabulary, tasks=["semantic"])

    with pytest.raises(
        ConfigError, match=r"The method gives no instance result. Leave it out: tasks=\[semantic\]."
    ):
        run(photos, tmp_path / "out", NoInstances(), tasks=["instance", "semantic"])


def test_a_second_run_does_nothing(photos, tmp_path):
    output = tmp_path / "out"
    run(photos, output)
    before = contents(output)
    method = FakeMethod()
    summary = run(photos, output, method)
    assert method.batches == []
    assert (summary.done, summary.resumed, summary.seconds_per_picture) == (0, 5, None)
    assert contents(output) == before


def test_own_results_are_no_input(photos, tmp_path, caplog):
    folder = photos[0].parent
    run(photos, folder)
    found = find_images(folder)
    assert len(found) == 20
    with caplog.at_level(logging.WARNING):
        summary = run(found, folder)
    assert (summary.done, summary.resumed) == (0, 5)
    assert f"15 inputs are results in {folder} and are left out." in caplog.text


def test_more_pictures_can_be_added(photos, tmp_path):
    run(photos[:2], tmp_path / "out")
    method = FakeMethod()
    summary = run(photos, tmp_path / "out", method)
    assert len(method.batches) == 3
    assert summary.resumed == 2
    assert len(load(tmp_path / "out" / "panoptic.json")["annotations"]) == 5


def test_a_changed_picture_or_a_lost_file_is_done_again(photos, tmp_path):
    run(photos, tmp_path / "out")
    PIL.Image.fromarray(picture(99)).save(photos[0])
    (tmp_path / "out" / "semantic" / f"{photos[1].stem}.png").unlink()
    (tmp_path / "out" / "records" / f"{photos[2].stem}.json").write_text("{")
    assert run(photos, tmp_path / "out").done == 3
    labels = pixels(tmp_path / "out" / "semantic" / f"{photos[0].stem}.png").astype(int)
    np.testing.assert_array_equal(np.where(labels == 255, -1, labels), label_map(picture(99), 3))


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path):
    for number, name in enumerate(("a/x.png", "b/x.png", "a/x.bmp")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(picture(number)).save(tmp_path / name)
    output = tmp_path / "out"
    run([tmp_path / "a/x.png"], output)
    first = (output / "semantic" / "x.png").read_bytes()
    run([tmp_path / "b/x.png"], output)  # another picture, later, into the same folder
    run([tmp_path / "a/x.png", tmp_path / "b/x.png", tmp_path / "a/x.bmp"], output)
    assert (output / "semantic" / "x.png").read_bytes() == first
    assert {path.name for path in (output / "semantic").iterdir()} == {"x.png", "x-2.png", "a-x_bmp.png"}
    index = load(output / "predictions.json")
    assert [entry["image_id"] for entry in index["pictures"]] == [1, 2, 3]


def test_other_settings_are_not_mixed_in(photos, tmp_path):
    output = tmp_path / "out"
    run(photos, output, method_settings={"weights": "a", "alpha": 0.4})
    before = contents(output)
    cats = Vocabulary("cats", (ClassEntry(("cat",)),))
    with pytest.raises(OutputError) as caught:
        run(
            photos,
            output,
            vocabulary=cats,
            tasks=["semantic"],
            method_settings={"weights": "b", "alpha": 0.4},
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{output} holds results of other settings, and results of two kinds are not mixed:"
    assert '  method.weights: "a" -> "b"' in lines
    assert '  tasks: ["semantic", "panoptic", "instance"] -> ["semantic"]' in lines
    assert '  vocabulary.name: "animals" -> "cats"' in lines
    assert not any("alpha" in line for line in lines)
    assert lines[-1] == (
        "Choose another folder with output=DIR, or remove the old results with resume=false."
    )
    assert contents(output) == before


def test_resume_false_starts_afresh_and_leaves_other_files_alone(photos, tmp_path):
    output = tmp_path / "out"
    run(photos, output)
    (output / "semantic" / "mine.png").write_bytes(b"not ours")
    (output / "notes.txt").write_text("not ours")
    method = FakeMethod()
    summary = run(photos[:2], output, method, resume=False, tasks=["semantic"], overlay=False)
    assert (summary.done, summary.resumed) == (2, 0)
    assert sorted(path.name for path in (output / "semantic").iterdir()) == [
        f"{photos[0].stem}.png",
        f"{photos[1].stem}.png",
        "mine.png",
    ]
    assert (output / "notes.txt").exists()
    assert not (output / "panoptic").exists()
    assert not (output / "panoptic.json").exists()


def test_unreadable_settings(photos, tmp_path):
    run(photos, tmp_path / "out")
    (tmp_path / "out" / "settings.json").write_text("{")
    with pytest.raises(
        OutputError, match=r"settings.json cannot be read .* start afresh in this one with resume=false"
    ):
        run(photos, tmp_path / "out")
    assert run(photos, tmp_path / "out", resume=False).done == 5


def start_slow_run(photos, output):
    code = (
        "from pathlib import Path; import sys; from helpers.fake_method import FakeMethod;"
        "from ovseg.run.predict import predict_files; from ovseg.vocabulary import ClassEntry, Vocabulary;"
        "animals = Vocabulary('animals', (ClassEntry(('cat',), id=17), ClassEntry(('dog', 'puppy'), id=18),"
        " ClassEntry(('grass',), is_thing=False, id=193)));"
        "predict_files(FakeMethod(delay=0.4), animals,"
        " inputs=[Path(path) for path in sys.argv[2:]], output=Path(sys.argv[1]))"
    )
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(output), *map(str, photos)],
        env={**os.environ, "PYTHONPATH": tests},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_records(process, output, count):
    deadline = time.monotonic() + 60
    while len(list((output / "records").glob("*.json"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_run_goes_on_where_it_stopped(photos, tmp_path):
    output = tmp_path / "out"
    process = start_slow_run(photos, output)
    wait_for_records(process, output, 2)
    with pytest.raises(OutputError, match=r"Another run is writing to .* choose another with output=DIR"):
        run(photos, output)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (output / "predictions.json").exists()
    (output / "semantic" / ".ovseg-1-2.tmp").write_bytes(b"half a file")
    kept = contents(output / "records")
    times = {name: (output / "records" / name).stat().st_mtime_ns for name in kept}
    assert 2 <= len(kept) < 5

    method = FakeMethod()
    summary = run(photos, output, method)
    assert summary.resumed == len(kept)
    assert len(method.batches) == 5 - len(kept)
    assert {name: (output / "records" / name).stat().st_mtime_ns for name in kept} == times
    assert not list(output.rglob("*.tmp"))
    run(photos, tmp_path / "whole")
    for kind in ("overlay", "semantic", "panoptic", "instances"):
        assert contents(output / kind) == contents(tmp_path / "whole" / kind)
    for name in ("panoptic.json", "instances.json"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ctrl_c_keeps_what_was_predicted(photos, tmp_path):
    output = tmp_path / "out"
    method = FakeMethod(errors={round(float(picture(2)[..., 0].mean())): KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run(photos, output, method)
    finished = sorted((output / "records").glob("*.json"))
    assert [path.stem for path in finished] == [photos[0].stem, photos[1].stem]
    for record in finished:
        assert all((output / name).is_file() for name in load(record)["files"].values())
    assert run(photos, output).resumed == 2


def test_full_disk(photos, tmp_path, monkeypatch):
    real = os.replace

    def replace(source, target):
        if "panoptic" in str(target) and photos[2].stem in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError) as caught:
        run(photos, tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path}/out/panoptic/{photos[2].stem}.png cannot be written: No space left on device. "
        "Free some space, then run the same command again: it goes on where it stopped."
    )
    assert not list((tmp_path / "out").rglob("*.tmp"))
    monkeypatch.undo()
    # The two before it, and perhaps those that were on their way already.
    assert 2 <= run(photos, tmp_path / "out").resumed <= 4


def test_output_that_cannot_be_made(photos, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="A file or folder of that name is in the way"):
        run(photos, tmp_path / "file")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"Choose a folder that you may write to with output=DIR."):
        run(photos, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, r"Unknown tasks: none\. Allowed are one or more of semantic, panoptic, instance\."),
        ({"batch_size": 0}, "Got batch_size=0. It must be 1 or more."),
    ],
)
def test_wrong_options(photos, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run(photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nothing_found_in_any_picture(tmp_path):
    PIL.Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(tmp_path / "white.png")
    run([tmp_path / "white.png"], tmp_path / "out")
    assert pixels(tmp_path / "out/semantic/white.png").min() == 255
    assert load(tmp_path / "out/panoptic.json")["annotations"][0]["segments_info"] == []
    assert load(tmp_path / "out/instances.json")["annotations"] == []


def test_the_written_picture_matches_the_one_read(photos, tmp_path):
    """An EXIF-rotated picture has results in the upright frame."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(picture(1)).save(tmp_path / "turned.png", exif=exif)
    run([tmp_path / "turned.png"], tmp_path / "out")
    assert pixels(tmp_path / "out/semantic/turned.png").shape == (64, 48)
    assert read_image(tmp_path / "turned.png").shape == (64, 48, 3)
