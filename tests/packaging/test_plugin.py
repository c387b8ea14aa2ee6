"""A stranger's package, installed with pip, used from the command line; and one that is broken."""

import json

import numpy as np
import pytest
from PIL import Image

from ovseg.registry import BACKBONES

pytestmark = pytest.mark.slow

FAULTS = {
    "gone": "there is no module 'ovseg_broken.nowhere'.",
    "malformed": "its entry point 'ovseg_broken' is malformed, it must look like 'my_package.module:Name'.",
    "clip_resnet": f"its name is registered twice, by ovseg itself ({BACKBONES.entry('clip_resnet').target}) "
    "and by itself (ovseg_broken.parts:Usurper); uninstall one of them.",
}


@pytest.fixture
def picture(tmp_path):
    """Left half red, right half blue, one green corner."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:, :20, 0] = 255
    pixels[:, 20:, 2] = 255
    pixels[:8, :8] = (0, 128, 0)
    Image.fromarray(pixels).save(tmp_path / "flag.png")
    return tmp_path / "flag.png"


def test_a_plugin_s_method_predicts_from_the_command_line(with_plugins, picture, tmp_path):
    words = ["model=colours", "input=flag.png", "output=out", "classes=[red|crimson, green, stuff:blue]"]
    done = with_plugins.ovseg("predict", *words, "model.backbone.cell=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / "out" / "semantic" / "flag.png"))
    truth = np.zeros((24, 40), int)
    truth[:, 20:] = 2
    truth[:8, :8] = 1
    values = {int(labels[truth == label][0]) for label in range(3)}
    assert len(values) == 3
    for label in range(3):
        assert len(np.unique(labels[truth == label])) == 1
    assert "nearest_colour" in json.dumps(json.loads((tmp_path / "out" / "predictions.json").read_text()))


def test_its_constructors_are_its_schema(with_plugins, picture, tmp_path):
    words = ["predict", "model=colours", "input=flag.png", "output=out", "+model.backbone.sell=3"]
    done = with_plugins.ovseg(*words, "model.smallest_area=few", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "model.backbone.sell: 'mean_colour' has no argument 'sell'. Did you mean 'cell'?" in done.stderr
    assert "model.smallest_area='few': input should be a valid integer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_plugin_is_named_and_the_rest_works(with_plugins, tmp_path):
    done = with_plugins.ovseg("ls", "backbones", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mean_colour" in done.stdout
    assert "Names pixels by their colour" in done.stdout
    for name, fault in FAULTS.items():
        plugin = f"The plugin '{name}' (ovseg.backbones) of the package 'ovseg-broken'"
        assert f"ovseg: warning: {plugin} cannot be used: {fault}\n" in done.stderr
    done = with_plugins.ovseg("predict", "--cfg", "job", "-p", "model", "model=colours", cwd=tmp_path)
    assert done.returncode == 0
    assert "there is no module 'ovseg_broken.conf'" in done.stderr


def test_a_broken_plugin_that_is_asked_for_is_an_error(with_plugins, picture, tmp_path):
    words = ["predict", "model=colours", "input=flag.png", "output=out"]
    done = with_plugins.ovseg(*words, "model.backbone.name=fails", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "The plugin 'fails' (ovseg.backbones) of the package 'ovseg-broken' cannot be used: importing "
        "'ovseg_broken.parts:Fails' failed: RuntimeError: the driver is missing"
    ) in done.stderr
    assert "Traceback" not in done.stderr
