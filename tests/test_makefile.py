"""The Makefile with a stand-in for Python, which notes what it is asked and makes no environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
*sys.version_info*) exit {too_old} ;;
*python_version*) echo 3.9.1 ;;
*"-m venv"*)
    mkdir -p .venv/bin
    for tool in python ruff mypy; do
        printf '#!/bin/sh\\necho "%s $@" >> "{log}"\\n' "$tool" > .venv/bin/$tool
        chmod +x .venv/bin/$tool
    done ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def checkout(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    return tmp_path


def stand_in(folder: Path, *, too_old: bool = False) -> Path:
    path = folder / "stand-in"
    path.write_text(STAND_IN.format(log=folder / "log", too_old=int(too_old)))
    path.chmod(0o755)
    return path


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Without what a surrounding make hands down.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def log(folder: Path) -> list[str]:
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line for line in lines if "-c" not in line.split()]


def test_setup_is_done_once_and_again_when_pyproject_changes(checkout):
    python = stand_in(checkout)
    assert run(checkout, "make", "setup", f"PYTHON={python}").returncode == 0
    made = log(checkout)
    assert made[0] == "-m venv .venv"
    assert made[1].startswith("python -m pip install")
    assert made[1].endswith("--editable .[dev]")
    assert run(checkout, "make", "setup", f"PYTHON={python}").returncode == 0
    assert log(checkout) == []
    later = (checkout / ".venv" / ".made-from-pyproject").stat().st_mtime + 10
    os.utime(checkout / "pyproject.toml", (later, later))
    assert run(checkout, "make", "setup", f"PYTHON={python}").returncode == 0
    assert log(checkout) == made


def test_a_setup_that_failed_is_not_taken_for_done(checkout):
    python = stand_in(checkout)
    python.write_text(python.read_text().replace("chmod +x .venv/bin/$tool", ":"))
    assert run(checkout, "make", "setup", f"PYTHON={python}").returncode != 0
    assert not (checkout / ".venv" / ".made-from-pyproject").exists()


def test_an_old_python_is_refused_at_once(checkout):
    answer = run(checkout, "make", "test", f"PYTHON={stand_in(checkout, too_old=True)}")
    assert answer.returncode != 0
    assert f"ovseg needs Python 3.10 or later; '{checkout / 'stand-in'}' is 3.9.1." in answer.stderr
    assert "Run: make test PYTHON=/path/to/python3.10" in answer.stderr
    assert log(checkout) == []


def test_no_python_is_refused_at_once(checkout):
    answer = run(checkout, "make", "setup", "PYTHON=no-such-python")
    assert "ovseg needs Python 3.10 or later; 'no-such-python' is no Python." in answer.stderr


def test_the_demo_needs_nothing_but_a_setup(checkout):
    python = stand_in(checkout)
    python.write_text(python.read_text().replace("python ruff mypy", "python ruff mypy ovseg"))
    answer = run(checkout, "make", "demo", f"PYTHON={python}")
    assert answer.returncode == 0, answer.stderr
    steps = [line.split()[:2] for line in log(checkout)]
    assert steps == [["-m", "venv"], ["python", "-m"], ["ovseg", "demo"]]


def test_ci_sets_up_and_then_runs_style_types_and_tests(checkout):
    (checkout / "elsewhere").mkdir()
    answer = run(checkout / "elsewhere", "../.ci/run", PYTHON=str(stand_in(checkout)))
    assert answer.returncode == 0, answer.stderr
    steps = [line.split()[:2] for line in log(checkout)]
    assert steps == [
        ["-m", "venv"],
        ["python", "-m"],
        ["ruff", "check"],
        ["ruff", "format"],
        ["mypy"],
        ["python", "-m"],
    ]


def test_a_failed_step_stops_ci(checkout):
    python = stand_in(checkout)
    assert run(checkout, "make", "setup", f"PYTHON={python}").returncode == 0
    (checkout / ".venv" / "bin" / "mypy").write_text("#!/bin/sh\nexit 3\n")
    log(checkout)
    assert run(checkout, ".ci/run").returncode != 0
    assert [line.split()[0] for line in log(checkout)] == ["ruff", "ruff"]


def test_help_is_the_default_and_names_every_target(checkout):
    text = run(checkout, "make").stdout
    for target in ("help", "setup", "test", "lint", "format", "types", "clean"):
        assert f"  make {target} " in text


def test_clean_removes_what_was_made(checkout):
    run(checkout, "make", "setup", f"PYTHON={stand_in(checkout)}")
    (checkout / "ovseg" / "__pycache__").mkdir(parents=True)
    assert run(checkout, "make", "clean").returncode == 0
    assert not (checkout / ".venv").exists()
    assert not (checkout / "ovseg" / "__pycache__").exists()
    assert (checkout / "pyproject.toml").exists()
