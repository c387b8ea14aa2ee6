"""Loading ahead, putting pictures of one size together, and writing behind, each in bounded memory."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

Submit = Callable[[Callable[[], None]], None]


def ahead(function: Callable[[In], Out], items: Iterable[In], depth: int) -> Iterator[Out]:
    """The results of a function in order, computed by one thread up to `depth` items ahead."""
    pending: deque[Future[Out]] = deque()
    executor = ThreadPoolExecutor(1, thread_name_prefix="ovseg-load")
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def behind(depth: int) -> Iterator[Submit]:
    """Run jobs in one thread, in order; submitting waits while more than `depth` of them are open.

    The error of a job is raised by a later call or at the end of the block. What was submitted is always run,
    also when the block ends by an error or by Ctrl-C.
    """
    pending: deque[Future[None]] = deque()

    def submit(job: Callable[[], None]) -> None:
        pending.append(executor.submit(job))
        while len(pending) > depth or (pending and pending[0].done()):
            pending.popleft().result()

    with ThreadPoolExecutor(1, thread_name_prefix="ovseg-write") as executor:
        yield submit
        while pending:
            pending.popleft().result()


def groups_of_one_kind(
    items: Iterable[In], kind: Callable[[In], object], size: int, look_ahead: int
) -> Iterator[list[In]]:
    """Groups of up to `size` items of the same kind.

    At most `look_ahead` items wait for their like; then the group of the one that has waited longest goes.
    """
    waiting: dict[object, list[In]] = defaultdict(list)
    for item in items:
        group = waiting[kind(item)]
        group.append(item)
        if len(group) == size:
            yield waiting.pop(kind(item))
        elif sum(map(len, waiting.values())) >= look_ahead:
            # A dict keeps the order of insertion: the first group holds the item that came first.
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()
