"""The methods that are compositions of parts, on photographs, as they are run from the command line."""

import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from helpers.tiny_models import shipped_model, small, typed, written

from ovseg.cli.main import main

DATA = Path(os.environ.get("OVSEG_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "coco_mini"
COMPOSITIONS = ("clip_dense", "maskclip", "sclip", "naclip", "proxyclip", "trident_coarse", "sam_convclip")


@pytest.mark.skipif(not DATA.is_dir(), reason="the COCO pictures are not here (OVSEG_TEST_DATA)")
@pytest.mark.filterwarnings("ignore:.*has random weights")
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_photographs_become_files(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "cache"))
    pictures = sorted((DATA / "val2017").glob("*.jpg"))[:2]
    changed = typed(written(small(shipped_model(name), "methods"), tmp_path), shipped_model(name))
    files = f"input=[{','.join(str(picture.resolve()) for picture in pictures)}]"
    out = tmp_path / "out"
    words = ["model.weights=random", "runtime.device=cpu", "classes=[person, dog|puppy, stuff:sky]"]
    assert main(["predict", f"model={name}", files, f"output={out}", *words, *changed]) == 0
    assert capsys.readouterr().out.startswith("2 pictures predicted in ")
    index = json.loads((out / "predictions.json").read_text())
    assert len(index["pictures"]) == 2
    for picture in pictures:
        labels = read_image_values(out / "semantic" / f"{picture.stem}.png")
        assert labels.shape == read_image_values(picture).shape[:2]
        assert set(np.unique(labels).tolist()) <= {0, 1, 2, 255}


def read_image_values(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        return np.asarray(picture)
