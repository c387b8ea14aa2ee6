"""When weights are taken for changed."""

import pytest
import torch
from torch import nn

from ovseg.models.common import fingerprint
from ovseg.models.common.fingerprint import Fingerprint


@pytest.fixture
def hashed(monkeypatch):
    """How many tensors were read."""
    counted = []
    sha256 = fingerprint._sha256
    monkeypatch.setattr(fingerprint, "_sha256", lambda tensor: counted.append(tensor) or sha256(tensor))
    return counted


def named(module):
    return list(module.named_parameters())


def test_read_once_while_nothing_changes(hashed):
    layer, of = nn.Linear(3, 4), Fingerprint().of
    digest = of(["a"], named(layer))
    assert len(digest) == 64
    assert of(["a"], named(layer)) == digest
    assert len(hashed) == 2
    assert Fingerprint().of(["a"], named(layer)) == digest


def test_every_kind_of_change_is_seen(hashed):
    layer, of = nn.Linear(3, 4), Fingerprint().of
    digests = [of(["a"], named(layer))]
    with torch.no_grad():
        layer.weight.mul_(2.0)
    digests.append(of(["a"], named(layer)))
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})
    digests.append(of(["a"], named(layer)))
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()}, assign=True)
    digests.append(of(["a"], named(layer)))
    layer.to(torch.float64)
    digests.append(of(["a"], named(layer)))
    digests.append(of(["b"], named(layer)))
    assert len(set(digests)) == 6
    assert len(hashed) == 12


def test_same_values_same_digest_wherever_they_are():
    weight = torch.arange(12.0).reshape(3, 4)
    strided = weight.t().contiguous().t()
    assert not strided.is_contiguous()
    digests = {Fingerprint().of([], [("weight", tensor)]) for tensor in (weight, weight.clone(), strided)}
    assert len(digests) == 1


def test_shape_and_name_count():
    weight = torch.zeros(3, 4)
    digests = {
        Fingerprint().of([], [("weight", weight)]),
        Fingerprint().of([], [("weight", weight.view(4, 3))]),
        Fingerprint().of([], [("bias", weight)]),
        Fingerprint().of([], [("weight", weight.view(torch.int32))]),
    }
    assert len(digests) == 4


def test_inference_tensors_are_read_each_time(hashed):
    with torch.inference_mode():
        weight = torch.zeros(3)
        of = Fingerprint().of
        first = of([], [("weight", weight)])
        weight.add_(1.0)
        assert of([], [("weight", weight)]) != first
    assert len(hashed) == 2
