"""Windows against the numbers of the official runs, and splicing against a loop over positions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg.models.common.windows import Window, crop, fit, fitted_size, hits, splice, windows


@pytest.mark.parametrize(
    ("size", "patch", "expected"),
    [
        ((448, 624), 16, (448, 624)),  # the first five are of official runs
        ((448, 597), 16, (464, 608)),
        ((448, 597), 14, (462, 602)),
        ((512, 1024), 16, (512, 1024)),
        ((336, 448), 16, (336, 448)),
        ((205, 2048), 16, (336, 2048)),
        ((208, 2048), 16, (336, 2048)),  # whole patches below a window: the official code fails
        ((1, 1), 16, (336, 336)),
    ],
)
def test_fitted_size(size: tuple[int, int], patch: int, expected: tuple[int, int]) -> None:
    assert fitted_size(size, patch=patch, window=336) == expected


def test_fit_resizes_only_where_it_must() -> None:
    x = torch.rand(1, 3, 32, 48)
    assert fit(x, patch=16, window=32) is x
    fitted = fit(x[..., :40], patch=16, window=32)
    assert fitted.shape == (1, 3, 48, 48)  # 40 becomes 48, and 32 with it 38.4, rounded up
    assert torch.allclose(fitted, F.interpolate(x[..., :40], size=(48, 48), mode="bilinear"))


def test_windows_of_the_official_run() -> None:
    places = windows((464, 608), window=336, stride=224)
    tokens = [tuple(v // 16 for v in (w.top, w.left, w.bottom, w.right)) for w in places]
    assert tokens == [
        (0, 0, 21, 21),
        (0, 14, 21, 35),
        (0, 17, 21, 38),
        (8, 0, 29, 21),
        (8, 14, 29, 35),
        (8, 17, 29, 38),
    ]


@pytest.mark.parametrize("size", [(4, 4), (4, 9), (13, 4), (3, 8)])
@pytest.mark.parametrize("stride", [1, 3, 4])
def test_windows_cover_everything_and_have_one_size(size: tuple[int, int], stride: int) -> None:
    places = windows(size, window=4, stride=stride)
    assert hits(places, size=size).min() >= 1
    assert {(w.bottom - w.top, w.right - w.left) for w in places} == {(min(4, size[0]), min(4, size[1]))}
    assert max(w.bottom for w in places) == size[0]
    assert max(w.right for w in places) == size[1]


def naive_splice(maps: Tensor, places: tuple[Window, ...], size: tuple[int, int]) -> Tensor:
    result = torch.zeros(1, maps.shape[1], *size)
    for y in range(size[0]):
        for x in range(size[1]):
            seen = [
                part[:, y - w.top, x - w.left]
                for part, w in zip(maps, places, strict=True)
                if w.top <= y < w.bottom and w.left <= x < w.right
            ]
            result[0, :, y, x] = torch.stack(seen).mean(0)
    return result


def test_splice_is_the_mean_of_what_the_windows_say() -> None:
    places = windows((6, 9), window=4, stride=3)
    maps = torch.rand(len(places), 2, 4, 4)
    assert torch.allclose(splice(maps, places, size=(6, 9)), naive_splice(maps, places, (6, 9)), atol=1e-6)


def test_splicing_the_windows_of_a_picture_gives_it_back() -> None:
    x = torch.rand(1, 3, 6, 9)
    places = windows((6, 9), window=4, stride=3)
    assert torch.allclose(splice(crop(x, places), places, size=(6, 9)), x, atol=1e-6)


def test_positions_are_patches_and_other_grids_are_resized() -> None:
    places = windows((64, 96), window=64, stride=32)
    maps = torch.rand(2, 5, 3, 3)
    spliced = splice(maps, places, size=(64, 96), patch=16)
    assert spliced.shape == (1, 5, 4, 6)
    assert torch.allclose(
        spliced[0, :, :, :2], F.interpolate(maps, size=(4, 4), mode="bilinear")[0, :, :, :2]
    )
    assert hits(places, size=(64, 96), patch=16).tolist() == [[1, 1, 2, 2, 1, 1]] * 4
