import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg.cli.completion import candidates
from ovseg.cli.main import VERBS, main
from ovseg.config import config_groups


def test_verbs():
    assert candidates("ovseg ") == list(VERBS)
    assert candidates("ovseg pre") == ["predict", "prepare"]
    assert candidates("/usr/bin/ovseg --v") == ["--version"]


def test_groups_options_and_sub_groups():
    assert "model" in candidates("ovseg predict mod")
    assert candidates("ovseg predict vocabulary=city") == ["vocabulary=cityscapes"]
    assert candidates("ovseg predict model/") == [
        "model/backbone",  # goes on with = or with /last_block
        "model/classifier=",
        "model/mask_generator=",
    ]
    found = candidates("ovseg predict input=x model/backbone=")
    assert found == [f"model/backbone={name}" for name in config_groups()["model/backbone"]]


def test_keys_and_values():
    assert candidates("ovseg predict outp") == ["output="]
    assert candidates("ovseg predict runtime.pre") == ["runtime.precision="]
    assert candidates("ovseg predict runtime.precision=") == ["runtime.precision=fp32"]
    assert "model.backbone.architecture=" in candidates("ovseg predict model=fcclip_r50 model.backbone.")


def test_a_value_without_candidates_is_left_to_the_shell():
    assert candidates("ovseg predict input=") == []
    assert candidates("ovseg predict input=pho") == []


def test_other_verbs():
    assert "methods" in candidates("ovseg ls m") or "models" in candidates("ovseg ls m")
    assert "fcclip_r50" in candidates("ovseg download fcclip_r5")
    assert candidates("ovseg completion b") == ["bash"]
    assert candidates("ovseg nonsense x") == []
    assert candidates("ovseg predict model=nonsense outp") == []


@pytest.mark.parametrize(
    "words", [["completion", "bash"], ["-sc", "install=bash"], ["predict", "-sc", "install=bash"]]
)
def test_the_script_is_printed(words, capsys):
    assert main(words) == 0
    assert "complete -o nospace -o default -F _ovseg ovseg" in capsys.readouterr().out


def test_the_cursor_counts_not_the_end_of_the_line(capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "ovseg predict outp model=fcclip")
    monkeypatch.setenv("COMP_POINT", str(len("ovseg predict outp")))
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out == "output=\n"


def test_another_shell_is_refused(capsys):
    assert main(["completion", "zsh"]) == 2
    assert "knows bash only" in capsys.readouterr().err
    assert main(["completion", "uninstall=bash"]) == 0
    assert "complete -r ovseg" in capsys.readouterr().out


def test_in_bash(tmp_path):
    """The printed script in a real bash, with the variables that readline sets."""
    program = tmp_path / "ovseg"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ovseg "$@"\n')
    program.chmod(0o755)
    lines = [
        "ovseg pred",
        "ovseg predict vocabulary=coco_p",
        "ovseg predict outp",
        "ovseg predict vocabulary=voc",
    ]
    asks = "\n".join(
        f"COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=(ovseg)\n"
        """_ovseg; printf '<%s>' "${COMPREPLY[@]}"; echo"""
        for line in lines
    )
    script = f"""
        eval "$(ovseg completion bash)"
        {asks}
        COMP_WORDBREAKS=' '
        COMP_LINE='ovseg predict vocabulary=coco_p' COMP_POINT=31; _ovseg; echo "${{COMPREPLY[0]}}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == [
        "<predict >",
        "<coco_panoptic >",
        "<output=>",
        "<voc_20><voc_21>",
        "vocabulary=coco_panoptic ",
    ], done.stderr
