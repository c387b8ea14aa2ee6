"""How the keys of a weights file differ from those of a model, said so that a person sees the cause."""

from collections.abc import Sequence
from dataclasses import dataclass

_MOST_GROUPS = 8
_MOST_EXAMPLES = 3

# A part of a key that only this kind of network has. Order counts for the wording alone.
_FAMILIES = (
    ("visual.trunk.stages.", "a ConvNeXt CLIP"),
    ("visual.layer1.", "a ResNet CLIP"),
    ("visual.transformer.resblocks.", "a ViT CLIP"),
    ("vision_model.encoder.", "a CLIP in the layout of transformers"),
    ("sem_seg_head.pixel_decoder.", "a Mask2Former decoder"),
    ("image_encoder.neck.", "SAM"),
    ("blocks.0.attn.qkv.", "a plain ViT such as DINO"),
)


@dataclass(frozen=True)
class Mismatch:
    """What does not fit; true if anything.

    Attributes:
        missing: keys that the model needs and the file lacks.
        unknown: keys that the file has and the model does not know.
        reshaped: (key, shape in the file, shape in the model).
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.reshaped)


def describe(
    mismatch: Mismatch, *, expected: Sequence[str], found: Sequence[str], source: str, model: str
) -> str:
    """The message: counts, then each kind grouped by prefix with examples, then the likely cause.

    Args:
        mismatch: what differs.
        expected: all keys of the model.
        found: all keys of the file.
        source: what the file is.
        model: what the model is.
    """
    counts = [
        f"{len(keys)} {kind}"
        for keys, kind in (
            (mismatch.missing, "missing"),
            (mismatch.unknown, "unknown"),
            (mismatch.reshaped, "of another shape"),
        )
        if keys
    ]
    lines = [f"{source} does not fit {model}: of {len(expected)} keys, {', '.join(counts)}."]
    lines += _section("missing in the file", {key: key for key in mismatch.missing})
    lines += _section("unknown to the model", {key: key for key in mismatch.unknown})
    shapes = {key: f"{key} {given} instead of {wanted}" for key, given, wanted in mismatch.reshaped}
    lines += _section("of another shape in the file", shapes)
    lines.append(_cause(mismatch, expected, found))
    return "\n".join(lines)


def _section(title: str, texts: dict[str, str]) -> list[str]:
    """One line per group of keys; `texts` maps each key to what is printed of it."""
    lines = [f"  {title}:"] if texts else []
    for prefix, keys in group_by_prefix(tuple(texts)).items():
        shown = ", ".join(texts[key] for key in keys[:_MOST_EXAMPLES])
        if len(keys) == 1:
            lines.append(f"    {shown}")
        else:
            more = ", ..." if len(keys) > _MOST_EXAMPLES else ""
            lines.append(f"    {prefix}: {len(keys)} keys: {shown}{more}")
    return lines


def group_by_prefix(keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group dotted keys by their first parts, as many parts as give at most eight groups.

    A key that ends before the prefix does is a group of its own.
    """
    groups = _split(keys, 1)
    for depth in range(2, max((key.count(".") for key in keys), default=0) + 1):
        finer = _split(keys, depth)
        if len(finer) > _MOST_GROUPS:
            break
        groups = finer
    return groups


def _split(keys: Sequence[str], depth: int) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for key in keys:
        parts = key.split(".")
        prefix = ".".join(parts[:depth]) + (".*" if len(parts) > depth else "")
        groups[prefix] = (*groups.get(prefix, ()), key)
    return groups


def _cause(mismatch: Mismatch, expected: Sequence[str], found: Sequence[str]) -> str:
    """The likely reason: kinds of network that the keys speak of, then prefixes, then what overlaps."""
    file_kind, model_kind = _families(found), _families(expected)
    if file_kind and model_kind and file_kind != model_kind:
        return (
            f"The file looks like {_and(file_kind)}, the model is {_and(model_kind)}: choose the model "
            "that belongs to the file, or the file of this model (`ovseg ls weights`)."
        )
    prefix = _common_prefix_change(expected, found)
    if prefix:
        return prefix
    if not set(expected) & set(found):
        return "File and model have no key in common: this file is of another model (`ovseg ls weights`)."
    if mismatch.reshaped:
        return "The layout is alike but sizes differ: this file is of another size or variant of the model."
    if mismatch.missing and mismatch.unknown:
        return "Part of the keys differ: this file is of another variant or version of the model."
    if mismatch.missing:
        return "The file holds only a part of the model: fetch the complete one (`ovseg ls weights`)."
    return (
        "The file holds more than the model: it is of a larger variant, or has parts this model does not use."
    )


def _families(keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for part, name in _FAMILIES if any(part in key for key in keys))


def _and(names: Sequence[str]) -> str:
    return " with ".join(names)


def _common_prefix_change(expected: Sequence[str], found: Sequence[str]) -> str | None:
    """Say so if the keys become equal when one prefix is put before, or taken from, all keys of the file."""
    wanted, given = set(expected), set(found)
    if not wanted or not given or wanted & given:
        return None
    for longer, shorter, verb in ((wanted, given, "lacks"), (given, wanted, "has too much")):
        tail = min(shorter)
        for key in (key for key in longer if key.endswith("." + tail)):
            prefix = key.removesuffix(tail)
            if {prefix + name for name in shorter} == longer:
                return f"Every key of the file {verb} '{prefix}' in front; otherwise the keys are the same."
    return None
