import sys
import warnings

import pytest
from helpers.distributions import pretend_installed

from ovseg.errors import PluginError, RegistryError
from ovseg.plugins import PluginWarning, plugins
from ovseg.registry import BUILT_IN, REGISTRIES, RUN_TIME, Entry, Registry


class Part:
    pass


@pytest.fixture
def registry():
    return Registry(
        "backbone",
        "ovseg.backbones",
        {
            "ordered": ("collections:OrderedDict", "keeps order"),
            "nested": ("unittest.mock:Mock.assert_called", ""),
        },
    )


def test_a_name_is_imported_only_when_asked_for(tmp_path, monkeypatch):
    tmp_path.joinpath("imported_late.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("backbone", "ovseg.backbones", {"late": ("imported_late:Thing", "a thing")})
    assert registry.names() == ("late",)
    assert registry.entry("late") == Entry("late", "imported_late:Thing", "a thing", BUILT_IN)
    assert "imported_late" not in sys.modules
    assert registry.get("late").__name__ == "Thing"


def test_attributes_may_be_nested(registry):
    from unittest.mock import Mock

    assert registry.get("nested") is Mock.assert_called


def test_an_unknown_name_gets_the_near_one_and_the_list(registry):
    with pytest.raises(RegistryError) as caught:
        registry.get("Orderd")
    assert str(caught.value) == (
        "There is no backbone named 'Orderd'. Did you mean 'ordered'? Known: nested, ordered. "
        "'ovseg ls backbones' describes them."
    )


def test_registered_at_run_time(registry):
    registry.register("mine", Part, description="of this test")
    assert registry.names() == ("mine", "nested", "ordered")
    assert registry.get("mine") is Part
    assert registry.entry("mine").origin == RUN_TIME
    assert registry.entry("mine").target == f"{Part.__module__}:Part"


def test_a_taken_name_names_both_owners(registry):
    with pytest.raises(
        RegistryError,
        match=r"'ordered' is registered twice: by ovseg itself \(collections:OrderedDict\) and by .*:Part",
    ):
        registry.register("ordered", Part)
    registry.register("mine", Part)
    with pytest.raises(
        RegistryError, match=r"'mine' is registered twice: by .*:Part and by collections:OrderedDict"
    ):
        registry.register("mine", registry.get("ordered"))


def test_a_plugin_is_found_described_and_loaded(registry, tmp_path, monkeypatch):
    pretend_installed(
        tmp_path,
        monkeypatch,
        name="good-plugin",
        summary="A good one",
        entry_points={
            "ovseg.backbones": {"good": "good_plugin.parts:Good"},
            "ovseg.methods": {"other": "a:B"},
        },
        files={"good_plugin/__init__.py": "", "good_plugin/parts.py": "class Good: pass\n"},
    )
    assert registry.names() == ("good", "nested", "ordered")
    assert registry.entry("good") == Entry("good", "good_plugin.parts:Good", "A good one", "good-plugin")
    assert "good_plugin" not in sys.modules
    assert registry.get("good").__name__ == "Good"
    assert registry.faults() == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            "bad_plugin.parts",
            r"its entry point 'bad_plugin\.parts' is malformed, it must look like 'my_package\.module:Nam",
        ),
        ("bad_plugin.parts:Good thing", "is malformed"),
        ("bad_plugin.no_such:Good", r"there is no module 'bad_plugin\.no_such'\."),
        ("no_such_package.parts:Good", r"there is no module 'no_such_package\.parts'\."),
    ],
)
def test_a_broken_plugin_is_a_named_warning_until_it_is_asked_for(
    registry, tmp_path, monkeypatch, value, reason
):
    pretend_installed(
        tmp_path,
        monkeypatch,
        name="bad-plugin",
        entry_points={"ovseg.backbones": {"bad": value}},
        files={"bad_plugin/__init__.py": "", "bad_plugin/parts.py": "class Good: pass\n"},
    )
    complaint = (
        rf"The plugin 'bad' \(ovseg\.backbones\) of the package 'bad-plugin' cannot be used: .*{reason}"
    )
    with pytest.warns(PluginWarning, match=complaint):
        assert registry.names() == ("nested", "ordered")
    assert registry.get("ordered")
    with pytest.raises(PluginError, match=complaint):
        registry.get("bad")
    assert len(registry.faults()) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("", "AttributeError: .*has no attribute 'Good'"),
    ],
)
def test_a_plugin_whose_import_fails_is_fatal_only_when_selected(
    registry, tmp_path, monkeypatch, source, reason
):
    package = f"failing_{abs(hash(source))}"
    pretend_installed(
        tmp_path,
        monkeypatch,
        name="failing",
        entry_points={"ovseg.backbones": {"bad": f"{package}:Good"}},
        files={f"{package}.py": source},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "bad" in registry.names()
    with pytest.raises(
        PluginError,
        match=f"The plugin 'bad' .* of the package 'failing' cannot be used: importing .* failed: {reason}",
    ):
        registry.get("bad")
    assert len(registry.faults()) == 1


def test_a_plugin_cannot_take_a_built_in_name(registry, tmp_path, monkeypatch):
    pretend_installed(
        tmp_path,
        monkeypatch,
        name="greedy",
        entry_points={"ovseg.backbones": {"ordered": "collections:Counter"}},
    )
    both = (
        r"registered twice, by ovseg itself \(collections:OrderedDict\) and by itself \(collections:Counter\)"
    )
    with pytest.warns(PluginWarning, match=both):
        names = registry.names()
    assert names.count("ordered") == 1
    assert registry.get("ordered").__name__ == "OrderedDict"


def test_two_plugins_with_one_name_are_both_refused(registry, tmp_path, monkeypatch):
    for name, value in (("first", "collections:Counter"), ("second", "collections:deque")):
        pretend_installed(tmp_path, monkeypatch, name=name, entry_points={"ovseg.backbones": {"same": value}})
    with pytest.warns(PluginWarning) as caught:
        assert "same" not in registry.names()
    assert len(caught) == 2
    with pytest.raises(
        PluginError, match=r"'first'.*registered twice, by the package 'second' \(collections:deque\)"
    ):
        registry.get("same")
    with pytest.raises(RegistryError, match="by the package 'first'"):
        registry.register("same", Part)


def test_no_installed_plugin_is_broken_here():
    assert [
        plugin.complaint for name in REGISTRIES for plugin in plugins(f"ovseg.{name}") if plugin.fault
    ] == []


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_built_in_name_imports_and_is_described(kind):
    registry = REGISTRIES[kind]
    for name in registry.names():
        assert registry.entry(name).description
        assert callable(registry.get(name))
