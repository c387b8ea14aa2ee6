import numpy as np

from ovseg.report.colors import class_colors, instance_color, oklab_to_rgb, palette, rgb_to_oklab
from ovseg.vocabulary import ClassEntry, Vocabulary


def test_oklab_of_known_colours():
    """Values of the CSS Color 4 specification's examples."""
    lab = rgb_to_oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8))
    expected = [[1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    np.testing.assert_allclose(lab, expected, atol=2e-4)


def test_oklab_round_trip():
    rgb = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    np.testing.assert_array_equal(oklab_to_rgb(rgb_to_oklab(rgb)), rgb)


def test_the_palette_does_not_depend_on_its_length():
    np.testing.assert_array_equal(palette(10), palette(1203)[:10])


def test_the_palette_is_spread():
    def nearest(count):
        lab = rgb_to_oklab(palette(count))
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        return distances[~np.eye(count, dtype=bool)].min()

    # 0.02 in Oklab is about the least that can be told apart side by side.
    assert nearest(10) > 0.12
    assert nearest(150) > 0.03
    assert len(np.unique(palette(1203), axis=0)) == 1203


def test_a_palette_longer_than_all_colours_repeats():
    colors = palette(5000)
    assert colors.shape == (5000, 3)


def test_own_colours_come_first():
    vocabulary = Vocabulary(
        "v", (ClassEntry(("a",)), ClassEntry(("b",), color=(1, 2, 3)), ClassEntry(("c",)))
    )
    colors = class_colors(vocabulary)
    assert colors[1].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(colors[[0, 2]], palette(3)[[0, 2]])


def test_instances_of_a_class_have_related_but_different_shades():
    for color in (palette(5)[4], np.array([0, 0, 70], np.uint8), np.array([255, 255, 255], np.uint8)):
        shades = np.stack([instance_color(color, index) for index in range(8)])
        np.testing.assert_array_equal(shades[0], color)
        lab = rgb_to_oklab(shades)
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert distances[~np.eye(8, dtype=bool)].min() > 0.025
