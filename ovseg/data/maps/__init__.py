"""Numbers of the data sets' publishers that are no class lists: which id of one file is which of another."""

import json
from importlib.resources import files


def ids(name: str) -> tuple[int, ...]:
    """The ids that ``<name>.json`` holds, in its order; the file's note says what they are."""
    content = json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return tuple(content["ids"])
