"""Weights as a file on disk, whatever it takes. Needs no torch."""

from pathlib import Path

from ovseg.errors import WeightsError
from ovseg.weights.download import download
from ovseg.weights.zoo import Entry, find, locate, mirror, weights_folder


def fetch(name_or_path: str | Path, *, progress: bool = True) -> Path:
    """Weights as a file on disk: an existing path as it is, a name from the cache or, once, from the network.

    Those that come with ovseg lie inside the package and are never looked for elsewhere.

    Names are those of `ZOO`, and ``architecture:tag`` of any pair that open_clip has on the Hugging Face hub.
    `OVSEG_CACHE` names the cache folder, `OVSEG_MIRROR` a server or a folder to use instead of the
    publishers' servers.

    Args:
        name_or_path: what to get.
        progress: whether a download that takes long says so on stderr.

    Raises:
        WeightsError: there is neither such a file nor such a name, or the download failed; the message then
            says which file to fetch by hand and where to put it.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    return fetch_entry(find(str(name_or_path)), progress=progress)


def fetch_entry(entry: Entry, *, progress: bool = True) -> Path:
    """Named weights as a file on disk, as `fetch` gets them.

    Raises:
        WeightsError: the download failed, or a file that comes with ovseg is not there.
    """
    on_disk = locate(entry)
    if on_disk is not None:
        return on_disk
    if entry.shipped is not None:
        raise WeightsError(
            f"The weights '{entry.name}' come with ovseg, but {entry.shipped} is not there: this "
            "installation is not whole. Install it again (pip install --force-reinstall ovseg); in a "
            "checkout: git checkout -- ovseg/weights/shipped."
        )
    return download(entry, weights_folder(), mirror=mirror(), progress=progress)
