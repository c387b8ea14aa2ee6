import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from ovseg.data.images import read_image
from ovseg.report.colors import class_colors
from ovseg.report.fonts import write
from ovseg.report.labels import _centers
from ovseg.report.legend import legend_entries
from ovseg.report.overlay import OPACITY, draw_overlay
from ovseg.report.regions import regions_of
from ovseg.types import Instances, Panoptic, Prediction, Segment
from ovseg.vocabulary import ClassEntry, Vocabulary, load_vocabulary

COCO_MINI = (
    Path(os.environ.get("OVSEG_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "coco_mini"
)
PETS = Vocabulary("pets", (ClassEntry(("cat",)), ClassEntry(("dog",)), ClassEntry(("sky",), is_thing=False)))
WHITE, BLACK = np.full((60, 80, 3), 255, np.uint8), np.zeros((60, 80, 3), np.uint8)


def semantic(labels, vocabulary=PETS):
    return Prediction(vocabulary, labels.shape, semantic=torch.from_numpy(labels))


def halves(left, right):
    labels = np.full((60, 80), left)
    labels[:, 40:] = right
    return labels


def test_segments_are_tinted_in_their_class_colour():
    overlay = draw_overlay(BLACK, semantic(halves(0, -1)))
    expected = (class_colors(PETS)[0] * OPACITY).round()
    np.testing.assert_array_equal(overlay[5, 5], expected)
    np.testing.assert_array_equal(overlay[5, 60], [0, 0, 0])  # nothing there: the picture as it is
    assert (overlay[5, 39] > expected).all()  # the outline is lighter


def test_the_picture_is_not_changed():
    image = BLACK.copy()
    draw_overlay(image, semantic(halves(0, 1)))
    assert (image == 0).all()


def test_the_legend_lists_what_is_there_by_area():
    labels = halves(2, 1)
    labels[0, :40] = 0
    labels[:, 79] = -1
    entries = legend_entries(regions_of(semantic(labels)), PETS)
    assert [entry.text for entry in entries] == ["sky", "dog", "cat", "(no class)"]
    assert [entry.share for entry in entries] == pytest.approx([59 / 120, 39 / 80, 1 / 120, 1 / 80])
    assert [entry.color for entry in entries] == [*map(tuple, class_colors(PETS)[[2, 1, 0]].tolist()), None]


def panoptic(ids, segments, vocabulary=PETS):
    made = tuple(
        Segment(number, label, vocabulary.classes[label].is_thing, None, int((ids == number).sum()))
        for number, label in segments
    )
    return Prediction(vocabulary, ids.shape, panoptic=Panoptic(torch.from_numpy(ids), made))


def test_things_are_counted_and_shaded_apart():
    ids = np.zeros((60, 80), np.int64)
    ids[:20], ids[20:25], ids[25:40], ids[40:] = 7, 8, 9, 3
    prediction = panoptic(ids, [(7, 0), (8, 0), (9, 2), (3, 2)])
    regions = regions_of(prediction)
    entries = legend_entries(regions, PETS)
    assert [entry.text for entry in entries] == ["sky", "cat (2)"]  # stuff is not counted
    cats = [region.color for region in regions.regions if region.label == 0]
    assert len(set(cats)) == 2
    assert tuple(class_colors(PETS)[0].tolist()) in cats
    areas = {region.area for region in regions.regions if region.label == 0}
    assert areas == {1600, 400}


def test_unlisted_ids_are_nothing():
    ids = np.full((60, 80), 5, np.int64)
    assert (regions_of(panoptic(ids, [])).ids == -1).all()


def test_sure_instances_lie_on_top_and_guesses_are_left_out():
    masks = torch.zeros(3, 60, 80, dtype=torch.bool)
    masks[0, :40], masks[1, 20:], masks[2] = True, True, True
    instances = Instances(masks, torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.5, 0.1]))
    regions = regions_of(Prediction(PETS, (60, 80), instances=instances))
    labels = np.array([region.label for region in regions.regions])[regions.ids]
    assert (labels[:40] == 0).all()
    assert (labels[40:] == 1).all()
    assert sorted(region.area for region in regions.regions) == [20 * 80, 40 * 80]


def test_views_are_chosen():
    ids = np.ones((60, 80), np.int64)
    both = Prediction(
        PETS, (60, 80), torch.zeros(60, 80, dtype=torch.int64), panoptic(ids, [(1, 1)]).panoptic
    )
    assert regions_of(both).regions[0].label == 1
    assert regions_of(both, "semantic").regions[0].label == 0
    with pytest.raises(ValueError, match="The prediction has no instance view"):
        regions_of(both, "instance")
    with pytest.raises(ValueError, match=r"The picture has size \(60, 80\), the prediction \(30, 80\)"):
        draw_overlay(WHITE, semantic(np.zeros((30, 80), np.int64)))


def test_large_pictures_are_scaled_down():
    labels = np.zeros((300, 600), np.int64)
    labels[150:] = 1
    overlay = draw_overlay(np.zeros((300, 600, 3), np.uint8), semantic(labels), max_side=200)
    colors = (class_colors(PETS) * OPACITY).round()
    assert overlay.shape[0] < 200
    np.testing.assert_array_equal(overlay[5, 195], colors[0])
    np.testing.assert_array_equal(overlay[98, 5], colors[1])


def test_label_places_are_the_deepest_points():
    ids = np.full((41, 61), -1)
    ids[5:26, 10:31] = 0  # a square of 21 around (15, 20)
    ids[30, :] = 1
    places = {index: (x, y, radius) for index, x, y, radius in _centers(ids)}
    assert places[0] == (20.5, 15.5, 11)
    assert places[1][2] == 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (200, 3), (30, 40)])
def test_tiny_and_narrow_pictures(height, width):
    overlay = draw_overlay(
        np.zeros((height, width, 3), np.uint8), semantic(np.zeros((height, width), np.int64))
    )
    assert overlay.shape[0] >= height
    assert overlay.shape[1] > 100  # the legend is readable nonetheless


def test_an_empty_prediction_says_so():
    prediction = semantic(np.full((60, 80), -1))
    assert [entry.text for entry in legend_entries(regions_of(prediction), PETS)] == ["(no class)"]
    assert (draw_overlay(BLACK, prediction)[:60, :80] == 0).all()


def test_long_names_are_cut_and_foreign_letters_never_fail():
    assert write("an extremely long name of a class", 15, 100.0).text.endswith("…")
    assert write("an extremely long name of a class", 15, 100.0).width <= 100
    assert write("cat", 15).text == "cat"
    assert write("Tür", 15).text in ("Tür", "Tur")
    assert write("猫 cat", 15).text in ("猫 cat", "? cat")
    assert write("", 15).text == ""


@pytest.mark.parametrize("present", [1, 10, 150])
@pytest.mark.parametrize(("height", "width"), [(427, 640), (640, 427), (200, 900)])
def test_legend_lines_do_not_overlap_and_stay_on_the_canvas(monkeypatch, present, height, width):
    """Looks at the text boxes as they are drawn: none touches another, the picture or the border."""
    drawn = []
    from PIL import ImageDraw

    original = ImageDraw.ImageDraw.text

    def text(self, xy, content, fill, font, anchor, **options):
        drawn.append((self.textbbox(xy, content, font=font, anchor=anchor), "stroke_width" in options))
        original(self, xy, content, fill, font, anchor=anchor, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    labels = np.arange(height * width).reshape(height, width) * present // (height * width)
    overlay = draw_overlay(
        np.zeros((height, width, 3), np.uint8), semantic(labels, load_vocabulary("ade20k_150"))
    )
    legend = [box for box, on_picture in drawn if not on_picture]
    assert len(legend) == 2 * present
    painted = np.zeros(overlay.shape[:2], int)
    for left, top, right, bottom in legend:
        assert left >= 0
        assert top >= 0
        assert right <= overlay.shape[1]
        assert bottom <= overlay.shape[0]
        assert left >= width or top >= height
        painted[int(top) : int(bottom), int(left) : int(right)] += 1
    assert painted.max() == 1
    if present == 150:  # fills a screen rather than a strip
        assert 0.5 < overlay.shape[1] / overlay.shape[0] < 4


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the COCO pictures are not here (OVSEG_TEST_DATA)")
def test_overlays_of_real_pictures():
    content = json.loads((COCO_MINI / "annotations/panoptic_val2017.json").read_bytes())
    vocabulary = load_vocabulary("coco_panoptic")
    label_of = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    for annotation in content["annotations"][:3]:
        with PIL.Image.open(COCO_MINI / "annotations/panoptic_val2017" / annotation["file_name"]) as png:
            ids = np.asarray(png).astype(np.int64) @ [1, 256, 65536]
        segments = [(info["id"], label_of[info["category_id"]]) for info in annotation["segments_info"]]
        image = read_image((COCO_MINI / "val2017" / annotation["file_name"]).with_suffix(".jpg"))
        prediction = panoptic(ids, segments, vocabulary)
        overlay = draw_overlay(image, prediction)
        height, width = ids.shape
        # The tint covers what is labelled and nothing else, but names may reach a little beyond.
        changed = (overlay[:height, :width] != image).any(axis=-1)
        assert changed[ids > 0].mean() > 0.97
        assert changed[ids == 0].mean() < 0.1 or (ids == 0).mean() < 0.02
        shares = [entry.share for entry in legend_entries(regions_of(prediction), vocabulary)]
        assert sum(shares) == pytest.approx(1)
