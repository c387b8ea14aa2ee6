"""Something that can be trained in no time: a line through pixels, with a frozen part and random points."""

import itertools

import torch
from torch import nn

from ovseg.run.training.engine import Engine
from ovseg.run.training.schedule import Schedule
from ovseg.types import Targets, TrainingBatch


class FakeTraining(nn.Module):
    """Two losses, each a mean over pictures; a picture's depends on its pixels and on its random points.

    Attributes:
        broken: call -> what its first loss is multiplied by.
        computed: number formats that `trained` computed in.
    """

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.trained = nn.Linear(3, 2)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.calls = itertools.count()
        self.broken = {}
        self.computed = []

    def forward(self, batch, *, generator=None):
        factor = self.broken.get(next(self.calls), 1.0)
        losses = [self._picture(pixels, g) for pixels, g in zip(batch.images, generator, strict=True)]
        first, second = (torch.stack(each).mean() for each in zip(*losses, strict=True))
        return {"loss_a": first * factor, "loss_b": second}

    def _picture(self, pixels, generator):
        values = self.frozen(pixels.float() / 255)
        chosen = torch.rand(values.shape[:2], generator=generator) < 0.5
        out = self.trained(values)
        self.computed.append(out.dtype)
        return (out[..., 0].float() - chosen.float()).square().mean(), out[..., 1].float().abs().mean()

    def parameter_groups(self, *, lr, weight_decay):
        return [{"params": [p], "lr": lr, "weight_decay": weight_decay} for p in self.trained.parameters()]

    def checkpoint_state(self, *, with_frozen):
        state = self.state_dict()
        return {key: value for key, value in state.items() if with_frozen or not key.startswith("frozen")}

    def metadata(self):
        return {"training_vocabulary": "two"}


class FakeLoader:
    """Endless noise: batch k of a share is a function of k."""

    def __init__(self, batch_size=2, place=0):
        self.batch_size, self.place = batch_size, place

    def __iter__(self):
        while True:
            self.place += 1
            yield batch_at(range((self.place - 1) * self.batch_size, self.place * self.batch_size))

    def state_dict(self):
        return {"iteration": self.place}

    def load_state_dict(self, state):
        self.place = state["iteration"]


def picture_at(place):
    noise = torch.Generator().manual_seed(place)
    return torch.randint(0, 256, (4, 5, 3), generator=noise, dtype=torch.uint8)


def batch_at(places):
    images = torch.stack([picture_at(place) for place in places])
    target = Targets(torch.zeros(1, dtype=torch.int64), torch.ones(1, 4, 5, dtype=torch.bool))
    return TrainingBatch(images, (target,) * len(images))


def fake_engine(training=None, *, lr=0.1, optimizer=torch.optim.AdamW, **settings):
    training = training or FakeTraining()
    groups = training.parameter_groups(lr=lr, weight_decay=0.05)
    return Engine(
        training=training,
        optimizer=optimizer(groups, lr=lr),
        **{"schedule": Schedule(100), "device": torch.device("cpu"), **settings},
    )


def trained_values(training):
    return torch.cat([parameter.detach().flatten().clone() for parameter in training.trained.parameters()])
