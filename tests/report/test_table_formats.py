import csv
import io
import json

import pytest
from helpers.drawn_comparison import TITLES, comparison

from ovseg.report.comparison import Difference, Note, interval_text, number, signed
from ovseg.report.comparison_table import print_comparison
from ovseg.report.table_formats import csv_text, json_text, latex, markdown


def test_numbers_are_rounded_with_true_signs():
    assert [number(value, 1) for value in (1.25, -0.04, 0.0, 99.96, -3.0)] == [
        "1.2",
        "0.0",
        "0.0",
        "100.0",
        "-3.0",
    ]
    assert [signed(value, 1) for value in (1.25, -0.04, -3.0)] == ["+1.2", "+0.0", "−3.0"]
    assert number(2.345, 0) == "2"
    assert interval_text((-1.0, 2.0), 2) == "[−1.00, 2.00]"


@pytest.mark.parametrize(
    ("interval", "clear"), [((1.0, 2.0), True), ((-2.0, -1.0), True), ((-1.0, 1.0), False), (None, False)]
)
def test_a_clear_difference(interval, clear):
    assert Difference(1.0, interval).is_clear is clear


def rows_of(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_markdown():
    text = markdown(comparison(notes=[Note("a", "other words"), Note("", "general")]), 1)
    rows = rows_of(text)
    assert rows[0] == ["method", *TITLES, "s/picture", "peak GB", "machine"]
    first = ["first", "**70.2** (71.0) [68.2, 72.2]", "40.0 [39.0, 42.0]", "75.0 [70.0, 80.0]"]
    assert rows[2] == [*first, "–", "–", "cuda:0"]
    assert rows[3][:3] == ["second (a)", "59.8 [57.8, 61.8]", "41.0 [39.0, 42.0]"]
    assert rows[3][3:] == ["–", "0.123", "2.5", "cpu, a processor"]
    assert rows[6] == ["second (a)", "−10.5 [−12.0, −9.0]", "+1.0 [−1.0, 3.0]", "–"]
    assert "- (a) other words\n" in text
    assert "- general\n" in text
    assert "over 7 common pictures, with paired intervals of 50 resamples." in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({len(line) for line in lines[:4]}) == 1


def test_markdown_escapes():
    text = markdown(comparison(names=("a|b", "<i>*x*\n_y_")), 1)
    assert "a\\|b" in text
    assert "\\<i\\>\\*x\\* \\_y\\_" in text


def test_csv_has_every_number_unrounded():
    compared = comparison(names=('a, "b"', "c"))
    header, *rows = csv.reader(io.StringIO(csv_text(compared)))
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert len(set(header)) == len(header)
    assert table[0]["method"] == 'a, "b"'
    assert float(table[0]["SQ/things"]) == 1 / 3
    assert [table[1][key] for key in ("PQ", "PQ low", "PQ high")] == ["59.75", "57.75", "61.75"]
    assert [table[1]["PQ difference" + end] for end in ("", " low", " high")] == ["-10.5", "-12.0", "-9.0"]
    assert table[0]["PQ published"] == "71.0"
    assert table[1]["PQ/seen"] == ""
    assert float(table[1]["seconds per picture"]) == 0.123456
    assert table[1]["skipped"] == "1"


def test_latex_has_the_form_of_tables():
    text = latex(comparison(names=("fc_clip 50%", r"a\b{c}$#&~^")), 1)
    tables = text.split(r"\begin{tabular}")[1:]
    assert len(tables) == 2
    for table in tables:
        columns = table[1 : table.index("}")]
        lines = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert {line.count(" & ") for line in lines} == {len(columns) - 1}
    assert r"fc\_clip 50\%" in text
    assert r"a\textbackslash{}b\{c\}\$\#\&\textasciitilde{}\textasciicircum{}" in text
    assert r"\textbf{70.2} {\scriptsize (71.0) [68.2, 72.2]}" in text
    assert r"$-$10.5 [$-$12.0, $-$9.0]" in text
    assert r"\textbf{40.0}" not in text


def test_json_is_everything():
    compared = comparison()
    content = json.loads(json_text(compared))
    assert content["format"] == 1
    assert content["methods"][1]["cells"]["PQ"]["difference"] == {"value": -10.5, "interval": [-12.0, -9.0]}
    assert content["methods"][0]["per_class"]["PQ"] == [0.0, None]


def test_printed_as_markdown_or_as_a_table(capsys, monkeypatch):
    compared = comparison(notes=[Note("a", "other words")])
    print_comparison(compared, 1)
    assert capsys.readouterr().out.startswith("# drawn (val): first, second")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    print_comparison(compared, 1)
    out = capsys.readouterr().out
    for text in ("second (a)", "70.2", "(71.0)", "[68.2, 72.2]", "−10.5", "[−12.0, −9.0]", "(a) other words"):
        assert text in out
