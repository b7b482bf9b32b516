"""`fastdet evaluate` on files of further tools: fields given twice, boxes in other places, other units and orders."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from evaluate_forms import Capture, fails, scored
from small_sets import ONE, voc_folder, voc_results, write

BOX = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>49</xmax><ymax>59</ymax></bndbox>"


# ---------------------------------------------------------------------------------------------------- VOC
@pytest.mark.parametrize(
    ("objects", "want"),
    [
        (f"<object><name>cat</name>{BOX}{BOX}</object>", "object[0].bndbox: expected one, got several"),
        (f"<object><name>cat</name><name>dog</name>{BOX}</object>", "object[0].name: expected one, got several"),
        (f"<object><name>cat</name>{BOX}<difficult>0</difficult><difficult>1</difficult></object>",
         "object[0].difficult: expected one, got several"),
        (f"<object><name>cat</name>{BOX.replace('<ymin>', '<xmin>5</xmin><ymin>')}</object>",
         "object[0].bndbox.xmin: expected one, got several"),
        (f'<object difficult="1"><name>cat</name>{BOX}</object>',
         "object[0].difficult: expected an element, got an attribute"),
        ('<object><name>cat</name><bndbox xmin="1" ymin="2" xmax="9" ymax="9"/></object>',
         "object[0].bndbox.xmin: expected an element, got an attribute"),
        ("<item><name>cat</name><left>1</left></item>", "expected each box as <object><bndbox>, got <item> elsewhere"),
        ("<object_0><name>cat</name></object_0>", "expected each box as <object><bndbox>, got <object_0> elsewhere"),
        ("<rect><left>1</left></rect>", "expected each box as <object><bndbox>, got <rect> elsewhere"),
        ("<label><xmin>1</xmin></label>", "expected each box as <object><bndbox>, got <xmin> elsewhere"),
    ],
)  # fmt: skip
def test_xml_of_which_a_part_would_be_passed_over(tmp_path: Path, capsys: Capture, objects: str, want: str) -> None:
    folder = voc_folder(tmp_path / "xml", list("ab"))
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    write(folder / "c.xml", f"<annotation>{objects}</annotation>")
    assert fails(capsys, folder, dt, "--labels", "position") == f"{folder / 'c.xml'}: {want}"
    if want.startswith("object"):
        result = scored(capsys, folder, dt, "--labels", "position", "--skip-invalid")
        assert (result["map"], result["skipped"]["count"]) == (ONE, 1)


def test_other_elements_of_xml(tmp_path: Path, capsys: Capture) -> None:
    """A person's parts have boxes of their own. A region that is a text is no box."""
    folder = voc_folder(tmp_path / "xml", list("ab"), f"<part><name>head</name>{BOX}</part>")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("<annotation>", "<annotation><region>north</region><objects/>"))
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    result = scored(capsys, folder, dt, "--labels", "position")
    assert (result["map"], result["true_boxes"]) == (ONE, 2)


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("encoding", ["GBK", "utf-8", "utf-16", "klingon"])
def test_the_mark_of_utf8_decides(tmp_path: Path, capsys: Capture, encoding: str, quote: str) -> None:
    folder = voc_folder(tmp_path / "xml", list("ab"))
    for path in folder.iterdir():
        said = f"<?xml version={quote}1.0{quote} encoding={quote}{encoding}{quote}?>\n<!-- \u4e2d -->"
        path.write_bytes(codecs.BOM_UTF8 + (said + path.read_text()).encode())
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE


def test_fractions_in_xml_are_noted(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", list("ab"))
    text = BOX
    for number in ("10", "20", "49", "59"):
        text = text.replace(number, f"0.{number}")
    write(folder / "c.xml", f"<annotation><object><name>cat</name>{text}</object></annotation>")
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    notes = scored(capsys, folder, dt, "--labels", "position")["notes"]
    want = f"{folder / 'c.xml'}: object[0].bndbox: a box within one pixel: the numbers look like fractions of the image"
    assert notes[0] == want
