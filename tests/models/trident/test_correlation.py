"""SAM's features and the correlation made of them, against the official code and against the formula."""

import json

import pytest
import torch
import torch.nn.functional as F
from helpers.memory import peak_bytes
from helpers.tiny_trident import CASES, read_golden

from ovseg.models.common.global_attention import attention_weights
from ovseg.models.common.linear import linear_backend
from ovseg.models.sam.build import sam
from ovseg.models.sam.prompted import Sam
from ovseg.models.trident.correlation import (
    aggregate,
    kept_attention,
    sam_correlation,
    thresholds,
    unit_values,
    valid_places,
)
from ovseg.models.trident.inputs import halved, sam_picture
from ovseg.types import GlobalAttention

LOOKS = [(name, "") for name in CASES] + [("city", "_half1")]
STRIDE = 197
"""Every so many queries have rows in the golden files."""


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """The tiny SAM, which is the same in all golden files."""
    golden, folder = read_golden("a"), tmp_path_factory.mktemp("sam")
    size = folder / "size.json"
    size.write_text(json.dumps(golden.facts["tiny_config"]["sam"]))
    made = sam(architecture=str(size), checkpoint=None)
    made.load_weights(golden.write(folder)["sam"])
    return made


@pytest.mark.parametrize(("name", "half"), LOOKS)
def test_equals_the_official_code(generator: Sam, name: str, half: str) -> None:
    golden = read_golden(name)
    picture = sam_picture(golden.picture, golden.patch)
    if name == "city":
        picture = halved(picture)[1 if half else 0]
    case = golden.facts["case"]
    settings = {"cos_fac": float(case["cos_fac"]), "refine_neg_cos": case["refine_neg_cos"]}
    with torch.no_grad(), linear_backend("plain"):
        features = generator.encode(picture)
        attention = features.last_attention
        height, width = attention.valid
        if not half:  # of two halves the file keeps the features of the left one
            assert golden.difference("sam_enc_feats", features.dense[..., :height:2, :width:2]) < 5e-5
            values = attention.values.unflatten(2, attention.grid)[..., :height:2, :width:2, :]
            assert golden.difference("sam_v", values) < 5e-5
        units, places = unit_values(attention), valid_places(attention)[::STRIDE]
        cosines = torch.stack([head[::STRIDE] @ head.T for head in units])
        assert golden.difference("corr_cos_rows" + half, cosines) < 5e-6
        weights = [attention_weights(attention, 0, head)(places) for head in range(len(units))]
        shown = torch.stack(weights).unflatten(2, attention.grid)[..., :height, :width].flatten(2)
        assert golden.difference("corr_samattn_rows" + half, shown) < 1e-5
        assert golden.difference("corr_thresh" + half, thresholds(units, **settings)) < 2e-6
        kept, rows = kept_attention(attention, **settings), sam_correlation(attention, **settings)
    # A cosine within rounding of its threshold may fall on either side; few do.
    assert (golden.differences("corr_unnorm_rowsum" + half, kept.sum(-1)) > 5e-6).mean() < 1e-3
    assert golden.difference("corr_rows" + half, rows[::STRIDE]) < 5e-5
    assert golden.difference("corr_colmean" + half, rows.mean(0)) < 2e-6


def made(valid: tuple[int, int], grid: tuple[int, int] = (7, 9)) -> GlobalAttention:
    n = grid[0] * grid[1]
    q, k, v = torch.randn(3, 1, 2, n, 6)
    return GlobalAttention(q, k, v, torch.randn(1, 2, n, grid[0]), torch.randn(1, 2, n, grid[1]), grid, valid)


def by_formula(attention: GlobalAttention, cos_fac: float, refine_neg_cos: bool) -> torch.Tensor:
    """The whole matrix of every head at once."""
    shown = [y * attention.grid[1] + x for y in range(attention.valid[0]) for x in range(attention.valid[1])]
    logits = attention.queries[0] @ attention.keys[0].transpose(1, 2) / 6**0.5
    for key in range(logits.shape[-1]):
        logits[..., key] += attention.row_bias[0, ..., key // attention.grid[1]]
        logits[..., key] += attention.column_bias[0, ..., key % attention.grid[1]]
    weights = logits.softmax(-1)[:, shown][:, :, shown]
    values = attention.values[0, :, shown]
    cosines = F.cosine_similarity(values[:, :, None], values[:, None], dim=-1)
    limit = cos_fac * cosines.mean((0, 2))
    if not refine_neg_cos:
        limit[limit < 0] = 0.6
    limit[limit > 0.9] = 0.9
    kept = torch.where(cosines > limit[None, :, None], weights, 0.0).mean(0)
    return kept / kept.sum(-1, keepdim=True)


@pytest.mark.parametrize("valid", [(7, 9), (4, 9), (7, 5), (1, 1)])
@pytest.mark.parametrize(("cos_fac", "refine_neg_cos"), [(1.2, True), (0.0, True), (9.0, False)])
def test_equals_the_formula(valid: tuple[int, int], cos_fac: float, refine_neg_cos: bool) -> None:
    attention = made(valid)
    ours = sam_correlation(attention, cos_fac=cos_fac, refine_neg_cos=refine_neg_cos)
    assert (ours - by_formula(attention, cos_fac, refine_neg_cos)).abs().max() < 2e-6


def test_thresholds() -> None:
    values = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]])  # mean cosines -1/3, 1/3 and 1/3
    limits = thresholds(values, cos_fac=1.5, refine_neg_cos=True)
    assert torch.allclose(limits, torch.tensor([-0.5, 0.5, 0.5]))
    limits = thresholds(values, cos_fac=3.0, refine_neg_cos=False)
    assert torch.allclose(limits, torch.tensor([0.6, 0.9, 0.9]))


def test_aggregation_mixes_tokens_row_by_row() -> None:
    mixing = torch.rand(6, 6)
    features = torch.randn(1, 4, 2, 3)
    mixed = aggregate(mixing, features)
    for y, x in ((0, 0), (0, 2), (1, 1)):
        expected = sum(
            mixing[y * 3 + x, i * 3 + j] * features[0, :, i, j] for i in range(2) for j in range(3)
        )
        assert torch.allclose(mixed[0, :, y, x], expected, atol=1e-6)


def test_memory_does_not_grow_with_heads() -> None:
    attention = made((40, 40), grid=(40, 40))
    with torch.no_grad(), linear_backend("plain"):
        peak = peak_bytes(lambda: sam_correlation(attention, cos_fac=1.2, refine_neg_cos=True))
    assert peak < 2 * 1600 * 1600 * 4
