"""Distributions built once, and fresh environments to install them into."""

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment that sees the packages of the one running the tests, but not its ovseg."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def install(self, *what):
        """Install without the network and without dependencies, which are there already."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"]
        run(*pip, "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", *what)

    def ovseg(self, *words, cwd):
        """Run the installed command."""
        return subprocess.run(
            [self.folder / "bin" / "ovseg", *words], cwd=cwd, capture_output=True, text=True, timeout=200
        )


def run(*command, cwd=None):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_environment(folder):
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (inner,) = folder.glob("lib/python*/site-packages")
    outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # A .pth file only lengthens the path: the editable ovseg of the outer environment is not followed.
    inner.joinpath("outer.pth").write_text("\n".join(sorted(outer)))
    return Environment(folder)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """Folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, PROJECT)
    return folder


@pytest.fixture(scope="session")
def wheel(distributions):
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """An environment with ovseg and nothing of the checkout. Not to be changed."""
    environment = new_environment(tmp_path_factory.mktemp("installed") / "venv")
    environment.install(wheel)
    return environment


@pytest.fixture(scope="session")
def with_plugins(wheel, tmp_path_factory):
    """Like `installed`, with the example plugin and with one that is broken in every way."""
    folder = tmp_path_factory.mktemp("plugins")
    environment = new_environment(folder / "venv")
    environment.install(wheel)
    environment.install(PROJECT / "tests" / "plugin_example", broken_plugin(folder / "broken"))
    return environment


def broken_plugin(folder):
    (folder / "ovseg_broken").mkdir(parents=True)
    (folder / "ovseg_broken" / "__init__.py").write_text("raise RuntimeError('the driver is missing')\n")
    (folder / "ovseg_broken" / "parts.py").write_text("")
    (folder / "pyproject.toml").write_text(
        """
[build-system]
requires = ["hatchling>=1.24"]
build-backend = "hatchling.build"

[project]
name = "ovseg-broken"
version = "1"
description = "Nothing in it works"

[project.entry-points."ovseg.backbones"]
fails = "ovseg_broken.parts:Fails"
gone = "ovseg_broken.nowhere:Gone"
malformed = "ovseg_broken"
clip_resnet = "ovseg_broken.parts:Usurper"

[project.entry-points."ovseg.conf"]
ovseg_broken = "ovseg_broken.conf"
"""
    )
    return folder
