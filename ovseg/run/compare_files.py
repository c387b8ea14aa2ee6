"""The files of a comparison."""

from pathlib import Path

from ovseg.report.comparison import Comparison
from ovseg.report.files import output_error, write_file
from ovseg.report.gallery import Gallery
from ovseg.report.page import page
from ovseg.report.table_formats import csv_text, json_text, latex, markdown


def write_comparison(folder: Path, comparison: Comparison, gallery: Gallery, *, digits: int) -> None:
    """Write ``comparison.md``, ``.csv``, ``.tex``, ``.json`` and ``index.html``, each in one step.

    Args:
        folder: is made if it is not there.
        comparison: the numbers.
        gallery: the pictures.
        digits: behind the point, in what people read.

    Raises:
        OutputError: something cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    texts = {
        "comparison.md": markdown(comparison, digits),
        "comparison.csv": csv_text(comparison),
        "comparison.tex": latex(comparison, digits),
        "comparison.json": json_text(comparison),
        "index.html": page(comparison, gallery, digits),
    }
    for file, text in texts.items():
        write_file(folder / file, text.encode())
