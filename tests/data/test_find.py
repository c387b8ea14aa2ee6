import logging
import os
from pathlib import Path

import pytest

from ovseg.data.find import find_images, output_stems
from ovseg.errors import DataError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in (
        "b.JPG",
        "a.png",
        "sub/c.tiff",
        "sub/deep/d.webp",
        "notes.md",
        ".hidden.png",
        ".git/e.png",
        "z.Bmp",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(paths, root):
    return [os.path.relpath(path, root) for path in paths]


def refusal(spec):
    with pytest.raises(DataError) as caught:
        find_images(spec)
    return str(caught.value)


def test_one_picture_whatever_its_suffix(tree):
    assert find_images("a.png") == [Path("a.png")]
    assert find_images(tree / "notes.md") == [tree / "notes.md"]


def test_folder_is_searched_below_and_sorted(tree):
    assert names(find_images(tree), tree) == ["a.png", "b.JPG", "sub/c.tiff", "sub/deep/d.webp", "z.Bmp"]


def test_links_are_followed_but_not_in_circles(tree):
    (tree / "sub" / "up").symlink_to(tree)
    (tree.parent / "elsewhere").mkdir(exist_ok=True)
    (tree.parent / "elsewhere" / "f.jpg").write_bytes(b"x")
    (tree / "linked").symlink_to(tree.parent / "elsewhere")
    found = names(find_images(tree), tree)
    assert "linked/f.jpg" in found
    assert len([name for name in found if name.endswith("a.png")]) == 1


def test_globs(tree):
    assert names(find_images("*.[jJ][pP][gG]"), tree) == ["b.JPG"]
    assert names(find_images("**/*.??ff"), tree) == ["sub/c.tiff"]
    assert names(find_images(str(tree / "**")), tree) == [
        "a.png",
        "b.JPG",
        "sub/c.tiff",
        "sub/deep/d.webp",
        "z.Bmp",
    ]


def test_a_file_whose_name_looks_like_a_glob(tree):
    (tree / "x[1].png").write_bytes(b"x")
    assert find_images("x[1].png") == [Path("x[1].png")]


def test_list_file_is_relative_to_itself(tree):
    (tree / "sub" / "list.txt").write_bytes(
        "\ufeff# a comment\n\n  c.tiff \r\n../a.png\nmissing.jpg\n".encode()
    )
    found = find_images(tree / "sub" / "list.txt")
    assert [path.resolve() for path in found] == [
        tree / "sub" / "c.tiff",
        tree / "a.png",
        tree / "sub" / "missing.jpg",
    ]


def test_several_keep_their_order_and_lose_repeats(tree):
    assert [str(path) for path in find_images(["z.Bmp", "sub", tree / "z.Bmp", "sub/../a.png"])] == [
        "z.Bmp",
        "sub/c.tiff",
        "sub/deep/d.webp",
        "sub/../a.png",
    ]


def test_home_is_expanded(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert find_images("~/a.png") == [tree / "a.png"]


def test_nothing_is_there(tree):
    assert refusal("no/such.png").startswith(
        f"'no/such.png' does not exist (looked in {tree}). Name a picture, "
    )
    assert "a .txt file with one path per line" in refusal("no/such.png")
    assert "No input was named." in refusal([])


def test_nothing_in_it_is_a_picture(tree):
    (tree / "empty").mkdir()
    assert "No picture in the folder empty: looked below it for files that end in .bmp, .jpeg" in refusal(
        "empty"
    )
    message = refusal("*.md")
    assert "The pattern '*.md' matches 1 paths" in message
    assert "none is a file that ends in .bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp." in message
    (tree / "list.txt").write_text("# nothing\n")
    assert "The list list.txt names no picture. Write one path per line" in refusal("list.txt")
    (tree / "list.txt").write_bytes(b"\xff\xfe\x00")
    assert "The list list.txt cannot be read" in refusal("list.txt")
    assert "It must be UTF-8 text" in refusal("list.txt")


def test_a_folder_that_cannot_be_opened_is_a_warning(tree, caplog, monkeypatch):
    def walk(folder, followlinks, onerror):
        onerror(PermissionError(13, "Permission denied", "secret"))
        yield str(folder), [], ["a.png"]

    monkeypatch.setattr(os, "walk", walk)
    with caplog.at_level(logging.WARNING):
        find_images(tree)
    assert "The folder secret cannot be looked into: Permission denied." in caplog.text


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        (["p/a.jpg", "p/b.jpg"], ["a", "b"]),
        (["p/a.jpg", "p/a.png"], ["a_jpg", "a_png"]),
        (["p/a.jpg", "q/a.jpg", "q/b.jpg"], ["p-a", "q-a", "b"]),
        (["p/x/a.jpg", "q/x/a.jpg"], ["p-x-a", "q-x-a"]),
        (["p/A.jpg", "p/a.png"], ["A_jpg", "a_png"]),
        (["p/A.jpg", "p/a.jpg"], ["A", "a-2"]),
        (["p/a.jpg", "q/a.jpg", "p-a.jpg"], ["p-a", "q-a", "p-a-2"]),
        (["p/a.jpg", "p/a.jpg"], ["a", "a-2"]),
        (["p/a.jpg", "p/a.png", "q/a.jpg"], ["p-a_jpg", "p-a_png", "q-a_jpg"]),
        (["p/a", "p/a.b.png"], ["a", "a.b"]),
        ([], []),
    ],
)
def test_output_stems(paths, stems):
    found = output_stems([Path(path) for path in paths])
    assert found == stems
    assert len({stem.casefold() for stem in found}) == len(paths)


def test_output_stems_fit_into_a_file_name():
    long = ["ä" * 100 + "1.png", "ä" * 100 + "2.png"]
    found = output_stems([Path(name) for name in long])
    assert len(set(found)) == 2
    assert all(len(name.encode()) < 200 for name in found)
