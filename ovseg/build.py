"""Nodes of YAML to built parts: the constructor's signature is the schema; all is checked before building.

A node is a mapping: ``name``, which the registry knows, and the constructor's keyword arguments. Each is

* a part of its own, if annotated with one of `PARTS` (`Backbone`, `MaskGenerator`, `Classifier` ...): its
  value is a node again;
* provided, if annotated with one of `PROVIDED`: it comes from the run and is not written in YAML;
* a value otherwise, checked and converted by its annotation with pydantic.
"""

import importlib
import inspect
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from ovseg.errors import ConfigError, OvsegError, PluginError
from ovseg.registry import REGISTRIES, Part
from ovseg.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FRAMEWORK_KEYS = ("name", "weights")
"""Keys of a node that mean something to the framework and so cannot be arguments."""

PARTS: Mapping[str, str] = {
    "ovseg.interfaces:Backbone": "backbones",
    "ovseg.interfaces:ImageEncoder": "backbones",
    "ovseg.interfaces:LastBlock": "last_blocks",
    "ovseg.interfaces:MaskGenerator": "mask_generators",
    "ovseg.interfaces:PromptableMaskGenerator": "mask_generators",
    "ovseg.interfaces:Classifier": "classifiers",
}
"""Annotation of a parameter that takes a part -> the registry of its node. The part must follow it."""

SPEC = "ovseg.types:BackboneSpec"
PROVIDED: Mapping[str, str] = {
    SPEC: "what the backbone beside it says of its features",
    "ovseg.models.common.text_cache:TextCache": "the run's cache of text embeddings",
    "ovseg.evaluation.subject:Subject": "the data set's classes, and which of them were seen in training",
}
"""Annotation of a parameter that the run provides -> what it is; by name, so that neither is imported."""

INTERFACES: Mapping[str, str] = {
    "methods": "ovseg.interfaces:Method",
    "backbones": "ovseg.interfaces:ImageEncoder",
    "last_blocks": "ovseg.interfaces:LastBlock",
    "mask_generators": "ovseg.interfaces:MaskGenerator",
    "classifiers": "ovseg.interfaces:Classifier",
    "datasets": "ovseg.dataset:Dataset",
    "evaluators": "ovseg.interfaces:Evaluator",
}
"""Registry -> the protocol that what it builds must follow, where no parameter asks for a narrower one."""

_NOT_THERE = object()

NO_CONSTRUCTOR = ("builtins", "torch.nn.modules.module")
"""Modules of the constructors that classes have which define none; they take nothing."""

Node = Mapping[str, Any]


@dataclass
class Faults:
    """What is wrong with a node, by kind, because the first kind explains the later ones."""

    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Faults") -> None:
        """Append the faults of a nested node."""
        self.unknown += other.unknown
        self.missing += other.missing
        self.wrong += other.wrong

    @property
    def all(self) -> list[str]:
        """Unknown names and keys first, then missing keys, then wrong values."""
        return [*self.unknown, *self.missing, *self.wrong]


def check_component(kind: str, node: object, *, path: str = "") -> list[str]:
    """Compare a node, and the nodes inside it, with the constructors, building nothing.

    Args:
        kind: a name of `ovseg.registry.REGISTRIES`.
        node: plain values, as composed.
        path: where the node stands in the config, for the messages: ``model``.

    Returns:
        All faults: unknown names and keys, with near ones, then missing keys, then values of a wrong type.
    """
    return _check(kind, node, path, backbones=None).all


def build_component(kind: str, node: Node, provided: Sequence[object] = (), *, path: str = "") -> Any:  # noqa: ANN401
    """Build a node and the nodes inside it, backbones first.

    Args:
        kind: a name of `ovseg.registry.REGISTRIES`.
        node: plain values, as composed.
        provided: objects for the parameters annotated with one of `PROVIDED`, found by their class. A
            `BackboneSpec` is only needed for a part that stands without a backbone beside it.
        path: where the node stands in the config, for the messages: ``model``.

    Raises:
        ConfigError: the node has faults; the message lists all of them.
        PluginError: what was built does not follow its interface.
    """
    faults = check_component(kind, node, path=path)
    if faults:
        raise ConfigError("\n".join(faults))
    return _build(kind, node, {_identity(type(value)): value for value in provided}, {}, path)


def _check(kind: str, node: object, path: str, backbones: Collection[str] | None) -> Faults:
    """Faults of a node; `backbones` are the names of those beside it, None where that is not known."""
    faults = Faults()
    registry = REGISTRIES[kind]
    if not isinstance(node, Mapping):
        where = path or f"the {registry.kind}"
        faults.wrong.append(f"{where}={node!r}: must be a mapping that says the name of a {registry.kind}")
        return faults
    if not isinstance(node.get("name"), str):
        faults.missing.append(
            f"{_join(path, 'name')} is missing. {registry.kind.capitalize()}s: {listed(registry.names())}."
        )
        return faults
    try:
        parameters = _parameters(registry.get(node["name"]))
    except OvsegError as error:
        faults.unknown.append(f"{_join(path, 'name')}={node['name']}: {error}")
        return faults
    faults.unknown += _unknown_keys(node, parameters, path)
    # One that is required and absent is reported as such; the parts beside it need not complain too.
    inside = [
        parameter.name
        for parameter in parameters.values()
        if parameter.refers_to == "backbones" and (parameter.required or node.get(parameter.name) is not None)
    ]
    for name, parameter in parameters.items():
        if parameter.role == "provided":
            if parameter.refers_to == SPEC and backbones is not None and not _sibling(name, backbones):
                faults.missing.append(
                    f"{path} ('{node['name']}') needs a backbone beside it, there are: {listed(backbones)}."
                )
        elif name in node:
            faults.add(_check_value(parameter, node[name], _join(path, name), inside or backbones or ()))
        elif parameter.required:
            faults.missing.append(f"{_join(path, name)} is missing; '{node['name']}' needs it.")
    return faults


def _unknown_keys(node: Node, parameters: Mapping[str, "_Parameter"], path: str) -> list[str]:
    settable = [name for name, parameter in parameters.items() if parameter.role != "provided"]
    found = []
    for key in node:
        if key in parameters and key not in settable:
            found.append(
                f"{_join(path, key)} is not written in a config: it is {PROVIDED[parameters[key].refers_to]}."
            )
        elif key != "name" and key not in settable:
            found.append(
                f"{_join(path, key)}: '{node['name']}' has no argument '{key}'."
                f"{did_you_mean(str(key), settable)} Known: {listed(settable)}."
            )
    return found


def _check_value(parameter: "_Parameter", value: object, path: str, backbones: Collection[str]) -> Faults:
    if parameter.role == "part":
        if value is None and parameter.optional:
            return Faults()
        return _check(parameter.refers_to, value, path, backbones)
    return Faults(wrong=[f"{path}{fault}" for fault in _type_faults(parameter.annotation, value)])


def _build(
    kind: str,
    node: Node,
    provided: Mapping[str, object],
    specs: Mapping[str, object],
    path: str,
    interface: str = "",
) -> Any:  # noqa: ANN401
    """Build a checked node.

    Args:
        kind: a name of `ovseg.registry.REGISTRIES`.
        node: plain values, as composed.
        provided: by the class of the object, as `PROVIDED` has it.
        specs: of the backbones beside it, by parameter name.
        path: where the node stands in the config.
        interface: that the parameter which takes it asks for; empty is the registry's own.
    """
    part = REGISTRIES[kind].get(node["name"])
    parameters = _parameters(part)
    arguments: dict[str, object] = {}
    inner_specs: dict[str, object] = {}
    written = [parameter for parameter in parameters.values() if parameter.name in node]
    for parameter in sorted(written, key=lambda parameter: parameter.refers_to != "backbones"):
        value = node[parameter.name]
        if parameter.role == "value":
            arguments[parameter.name] = _adapter(parameter.annotation).validate_python(value)
        elif value is None:
            arguments[parameter.name] = None
        else:
            inner = _join(path, parameter.name)
            built = _build(
                parameter.refers_to, value, provided, inner_specs or specs, inner, parameter.interface
            )
            arguments[parameter.name] = built
            if parameter.refers_to == "backbones":
                inner_specs[parameter.name] = built.spec
    for parameter in parameters.values():
        if parameter.role == "provided":
            given = _provide(parameter, provided, specs)
            if given is not None:
                arguments[parameter.name] = given
            elif parameter.required:
                raise ConfigError(
                    f"{_join(path, parameter.name)}: nothing here provides {PROVIDED[parameter.refers_to]}."
                )
    made = part(**arguments)
    _follow_interface(made, part, kind, INTERFACES.get(kind, ""))
    lacking = _lacking(made, interface)
    if lacking:
        raise ConfigError(
            f"{_join(path, 'name')}={node['name']}: this place needs a {_attribute(interface)}, and "
            f"'{node['name']}' lacks {listed(lacking)}. Choose another {REGISTRIES[kind].kind}."
        )
    return made


def _provide(parameter: "_Parameter", provided: Mapping[str, object], specs: Mapping[str, object]) -> object:
    if parameter.refers_to == SPEC:
        sibling = _sibling(parameter.name, specs)
        if sibling:
            return specs[sibling]
    return provided.get(parameter.refers_to)


def _sibling(name: str, backbones: Collection[str]) -> str | None:
    """The backbone that a parameter for a spec means: the one of its own name, or the only one."""
    if name in backbones:
        return name
    return next(iter(backbones)) if len(backbones) == 1 else None


def _follow_interface(made: object, part: Part, kind: str, interface: str) -> None:
    lacking = _lacking(made, interface)
    if lacking:
        raise PluginError(
            f"{_identity(part)} is registered in {kind} but is no {_attribute(interface)} "
            f"(see ovseg/interfaces.py): it lacks {listed(lacking)}."
        )


def _lacking(made: object, interface: str) -> list[str]:
    """What a part lacks of a protocol, given as ``module:attribute``; an empty name asks for nothing."""
    if not interface:
        return []
    module, _, attribute = interface.partition(":")
    protocol = getattr(importlib.import_module(module), attribute)
    wanted = {
        name
        for base in protocol.__mro__
        if base is not object
        for name in (*vars(base), *vars(base).get("__annotations__", ()))
        if name == "__call__" or not name.startswith("_")
    }
    lacking = (name for name in wanted if not _has(made, name))
    return sorted(lacking, key=lambda name: (name == "__call__", name))


def _has(made: object, name: str) -> bool:
    """Whether there is an attribute, without running a property: a data set's would read its files."""
    return inspect.getattr_static(made, name, _NOT_THERE) is not _NOT_THERE or hasattr(made, name)


def _attribute(interface: str) -> str:
    return interface.partition(":")[2]


@dataclass(frozen=True)
class _Parameter:
    """One constructor argument.

    Attributes:
        role: ``part``, ``provided`` or ``value``.
        refers_to: the registry of a part, or the key of `PROVIDED`; empty for a value.
        interface: that a part must follow, as ``module:attribute``; empty for others.
    """

    name: str
    annotation: Any
    required: bool
    optional: bool
    role: str
    refers_to: str = ""
    interface: str = ""


def _parameters(part: Part) -> dict[str, _Parameter]:
    """The constructor arguments of a part, by name.

    Raises:
        PluginError: the signature cannot serve as a schema.
    """
    if inspect.isclass(part) and getattr(part.__init__, "__module__", "builtins") in NO_CONSTRUCTOR:
        return {}
    hints = get_type_hints(part.__init__ if inspect.isclass(part) else part, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(part).parameters.items():
        if (
            parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            or name not in hints
            or name in FRAMEWORK_KEYS
        ):
            raise PluginError(
                f"{_identity(part)} cannot be configured: its argument '{parameter}' must be keyword-only "
                f"(after *), have an annotation, and not be called {' or '.join(FRAMEWORK_KEYS)}."
            )
        inner, optional = _without_none(hints[name])
        role, refers_to, interface = "value", "", ""
        if _identity(inner) in PARTS:
            role, refers_to, interface = "part", PARTS[_identity(inner)], _identity(inner)
        elif _identity(inner) in PROVIDED:
            role, refers_to = "provided", _identity(inner)
        required = parameter.default is inspect.Parameter.empty
        found[name] = _Parameter(name, hints[name], required, optional, role, refers_to, interface)
    return found


def _without_none(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401
    """``X | None`` to (X, True), anything else to (itself, False)."""
    if get_origin(annotation) in (Union, types.UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not type(None)]
        if len(arms) == 1:
            return arms[0], True
    return annotation, False


def _identity(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"


def _type_faults(annotation: Any, value: object) -> list[str]:  # noqa: ANN401
    """``[index]=value: reason`` of each place in a value that its annotation refuses."""
    from pydantic import ValidationError

    try:
        _adapter(annotation).validate_python(value)
    except ValidationError as error:
        return [
            f"{''.join(f'[{step}]' for step in fault['loc'])}={fault['input']!r}: {fault['msg'].lower()}"
            for fault in error.errors(include_url=False)
        ]
    return []


def _adapter(annotation: Any) -> "TypeAdapter[Any]":  # noqa: ANN401
    # Imported here: pydantic costs a tenth of a second, which help and completion need not pay.
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # the annotation is a dataclass or model with a config of its own
        return TypeAdapter(annotation)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
