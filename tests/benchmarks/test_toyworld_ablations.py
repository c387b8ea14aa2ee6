"""The ablations are settings that compose, and their tables say what the runs measured."""

import json
from pathlib import Path

import pytest
from helpers.toyworld_benchmarks import find_scripts

from ovseg.build import check_component
from ovseg.config import compose_model

find_scripts()
import ablations  # noqa: E402
from ablations import GROUPS, Group, Row, table  # noqa: E402

ROWS = {(name, row.name): row for name, group in GROUPS.items() for row in group.rows}


@pytest.mark.parametrize("key", ROWS)
def test_every_setting_composes(key: tuple[str, str]) -> None:
    model, *overrides = ROWS[key].words
    node = compose_model(model.removeprefix("model="), overrides)
    node.pop("weights")
    assert not check_component("methods", node, path="model")


def test_every_setting_has_a_folder_of_its_own() -> None:
    assert len(ROWS) == sum(len(group.rows) for group in GROUPS.values())
    assert not any(set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-") for _, name in ROWS)


def write_metrics(folder: Path, value: float, interval: list[float] | None) -> Path:
    folder.mkdir()
    scores = {"mean_iou": {"values": {"mIoU": value}, "intervals": {"mIoU": interval}}}
    (folder / "metrics.json").write_text(json.dumps({"scores": scores, "time": {"seconds_per_picture": 0.5}}))
    return folder


def test_a_table_has_values_with_their_intervals(tmp_path: Path) -> None:
    group = Group("Title", {"mIoU": "mean_iou:mIoU"}, (Row("one", ()), Row("two", ())))
    folders = [
        write_metrics(tmp_path / "one", 12.34, [11.0, 13.06]),
        write_metrics(tmp_path / "two", 5.0, None),
    ]
    assert list(table(group, folders)) == [
        "**Title**\n",
        "| | mIoU | s/picture |",
        "|---|---|---|",
        "| one | 12.3 (11.0 to 13.1) | 0.50 |",
        "| two | 5.0 | 0.50 |",
        "",
    ]


def test_a_run_that_fails_ends_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"failed; .*wrong\.log says why"):
        ablations.run("trident", Row("wrong", ("model=no_such_model",)), 1)
    assert "no_such_model" in (tmp_path / "trident" / "wrong.log").read_text()
