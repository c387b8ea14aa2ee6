"""Imports go one way: what is lower never knows what is above it."""

import ast
from pathlib import Path

import pytest

import ovseg

PACKAGE = Path(ovseg.__file__).parent

LAYERS = (
    ("ovseg.cli", "ovseg.__main__"),
    ("ovseg.run",),
    ("ovseg.models", "ovseg.data", "ovseg.evaluation", "ovseg.report"),
    (
        "ovseg.weights",
        "ovseg.build",
        "ovseg.config",
        "ovseg.config_errors",
        "ovseg.registry",
        "ovseg.plugins",
    ),
    ("ovseg.interfaces", "ovseg.dataset", "ovseg.schema"),
    (
        "ovseg.types",
        "ovseg.truth",
        "ovseg.image",
        "ovseg.errors",
        "ovseg.vocabulary",
        "ovseg.suggest",
        "ovseg.progress",
    ),
)
"""From the top; a module imports from its own layer and from those below."""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module):
    for number, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes):
            return number
    return None


def imports_of(source, module, is_package):
    """The modules of ovseg that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "ovseg")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            if (node.module or "").split(".")[0] == "ovseg":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file):
    module = module_of(file)
    if module == "ovseg":
        return  # the public names, imported when used
    own = layer_of(module)
    assert own is not None, f"{module} is in no layer; add it to LAYERS"
    for imported in imports_of(file.read_text(), module, file.stem == "__init__"):
        below = layer_of(imported)
        assert below is not None, f"{module} imports {imported}, which is in no layer"
        assert below >= own, f"{module} imports {imported}, which is above it"


@pytest.mark.parametrize("method", sorted(p.name for p in (PACKAGE / "models").iterdir() if p.is_dir()))
def test_methods_share_only_by_common(method):
    allowed = {"ovseg.models.common", f"ovseg.models.{method}"}
    for file in (PACKAGE / "models" / method).rglob("*.py"):
        for imported in imports_of(file.read_text(), module_of(file), False):
            if imported.startswith("ovseg.models."):
                assert ".".join(imported.split(".")[:3]) in allowed, f"{file} imports {imported}"


def test_the_rule_can_fail():
    found = list(imports_of("def f():\n    from ovseg.cli import main\n", "ovseg.data.images", False))
    assert found == ["ovseg.cli.main"]
    assert layer_of("ovseg.cli.main") < layer_of("ovseg.data.images")
