"""Which pictures are meant by a path, a folder, a glob or a list file, and what to call their results."""

import glob
import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ovseg.errors import DataError

logger = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What counts as a picture in a folder or a glob, in lower or upper case."""

_MAX_STEM_BYTES = 180


def find_images(spec: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The pictures that are meant, each once, in the order they were named; folders and globs sorted.

    Args:
        spec: one of these, or several in a list:
            a file: taken as a picture whatever its suffix;
            a folder: every file in it and below it with one of `SUFFIXES`, hidden ones left out;
            a pattern with ``*``, ``?``, ``[...]`` or ``**``: the files among its matches with such a suffix;
            a ``.txt`` file: one path per line, relative to the file; empty lines and lines that begin with
            ``#`` are skipped. A path in it that does not exist is kept, to be reported when it is read.

    Raises:
        DataError: nothing is there, or nothing in it is a picture; the text says what was looked for.
    """
    specs = [spec] if isinstance(spec, str | os.PathLike) else list(spec)
    if not specs:
        raise DataError(
            "No input was named. Name a picture, a folder, a pattern such as 'photos/*.jpg' or a list."
        )
    found = [path for one in specs for path in _find(os.path.expanduser(os.fspath(one)))]
    first: dict[str, Path] = {}
    for path in found:
        first.setdefault(os.path.abspath(path), path)
    return list(first.values())


def output_stems(paths: Sequence[Path], kept: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """File names without suffix for the results of each picture, unique even where upper case is ignored.

    A picture's own stem where no other has it; else as many parent folders as tell the namesakes apart
    (``a-x``, ``b-x``), the suffix (``x_jpg``, ``x_png``), or both; a number where even that is not enough.

    Args:
        paths: of the pictures.
        kept: absolute path of a picture -> the name it already has; no other picture is given such a name.
    """
    stems = [""] * len(paths)
    for members in _groups(range(len(paths)), lambda index: paths[index].stem.casefold()):
        for index, name in zip(members, _tell_apart([paths[index] for index in members]), strict=True):
            stems[index] = name
    return _number_repeats(
        [_shorten(stem) for stem in stems],
        [kept.get(os.path.abspath(path)) for path in paths],
        set(kept.values()),
    )


def _find(spec: str) -> list[Path]:
    path = Path(spec)
    if os.path.isdir(spec):
        return _in_folder(path)
    if os.path.exists(spec):
        return _in_list(path) if path.suffix.lower() == ".txt" else [path]
    if glob.has_magic(spec):
        return _matching(spec)
    raise DataError(
        f"{spec!r} does not exist (looked in {Path.cwd()}). "
        "Name a picture, a folder, a pattern such as 'photos/*.jpg', or a .txt file with one path per line."
    )


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(_walk(folder))
    if not found:
        raise DataError(
            f"No picture in the folder {folder}: looked below it for files that end in {_suffixes()}."
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    def warn(error: OSError) -> None:
        logger.warning("The folder %s cannot be looked into: %s.", error.filename, error.strerror)

    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=warn):
        real = os.path.realpath(place)
        if real in seen:  # links between folders may go in a circle
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files if _is_picture(Path(name)))


def _matching(pattern: str) -> list[Path]:
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    found = [match for match in matches if _is_picture(match) and match.is_file()]
    if not found:
        raise DataError(
            f"The pattern {pattern!r} matches {len(matches)} paths (looked in {Path.cwd()}), "
            f"of which none is a file that ends in {_suffixes()}."
        )
    return found


def _in_list(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The list {path} cannot be read: {error}. It must be UTF-8 text with one path per line."
        ) from error
    entries = [line.strip() for line in lines]
    found = [
        path.parent / os.path.expanduser(entry) for entry in entries if entry and not entry.startswith("#")
    ]
    if not found:
        raise DataError(
            f"The list {path} names no picture. Write one path per line, relative to the list's folder."
        )
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _suffixes() -> str:
    return ", ".join(SUFFIXES)


def _tell_apart(paths: Sequence[Path]) -> list[str]:
    """Names for pictures that share a stem: the shortest form in which all differ."""
    if len(paths) == 1:
        return [paths[0].stem]
    parents = [Path(os.path.abspath(path)).parent.parts[1:] for path in paths]
    suffixes = ["_" + path.suffix[1:] if path.suffix else "" for path in paths]
    for depth in range(max(map(len, parents)) + 1):
        heads = [list(parts[len(parts) - min(depth, len(parts)) :]) for parts in parents]
        for ends in ([""] * len(paths), suffixes):
            names = [
                "-".join([*head, path.stem + end]) for head, path, end in zip(heads, paths, ends, strict=True)
            ]
            if len({name.casefold() for name in names}) == len(names):
                return names
    return [path.stem for path in paths]


def _shorten(stem: str) -> str:
    """File systems take 255 bytes; a suffix and a temporary name must fit as well."""
    encoded = os.fsencode(stem)
    if len(encoded) <= _MAX_STEM_BYTES:
        return stem
    return encoded[:_MAX_STEM_BYTES].decode(errors="ignore") + "-" + hashlib.sha256(encoded).hexdigest()[:8]


def _number_repeats(stems: Sequence[str], kept: Sequence[str | None], reserved: Collection[str]) -> list[str]:
    taken = {name.casefold() for name in reserved}
    unique = []
    for stem, own in zip(stems, kept, strict=True):
        if own is not None:
            unique.append(own)
            continue
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        unique.append(name)
    return unique


def _groups(items: Sequence[int], key: Callable[[int], str]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())
