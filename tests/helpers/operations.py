"""Which of torch's operations a piece of code uses."""

from collections.abc import Callable

from torch.utils._python_dispatch import TorchDispatchMode


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def operations(work: Callable[[], object]) -> set[str]:
    """Names such as ``aten::addmm`` of all operations that `work` runs."""
    with _Recorder() as recorder:
        work()
    return recorder.names
