"""Small files that claim, or unpack to, a lot: each is refused by a limit that the error names, in little memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from memory import grown

from fastdet._core import limits
from fastdet._files import coco, detections, label_maps, names, npz, npz_data, parquet, voc
from fastdet._files.archive import Archive
from fastdet._files.coco_objects import Content
from fastdet._files.errors import FormatError
from fastdet.coco import COCO, COCOeval

BOX = '{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5'


def refused(name: str, read: object, *arguments: object, **more: object) -> str:
    """The error, which names the limit and says how to raise it."""
    with pytest.raises((FormatError, limits.LimitError)) as caught:
        read(*arguments, **more)  # type: ignore[operator]
    text = str(caught.value)
    assert f"FASTDET_LIMITS={name}=" in text, text
    assert text.endswith(" raises the limit")
    assert "\n" not in text
    return text


def packed(path: Path, *parts: bytes) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return path


def run(*arguments: object) -> tuple[str, int]:
    """The line that a command says, and the memory that it took, in MiB."""
    imports = "from fastdet.cli.app import main; sys.stderr = sys.stdout"
    said, more = grown(imports, "main(sys.argv[1:])", *arguments)
    return said, more >> 20


def test_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDET_LIMITS", " xml=64MiB, pixels=1000,names = 3k")
    assert [limits.of(name) for name in ("xml", "pixels", "names", "maps")] == [64 << 20, 1000, 3000, 16 << 30]
    for wrong in ("xml", "xml=", "xml=-1", "xml=1.5GiB", "xmls=1", "xml=1TB", "xml=1=2"):
        monkeypatch.setenv("FASTDET_LIMITS", wrong)
        with pytest.raises(
            limits.LimitError, match="FASTDET_LIMITS: must be pairs such as xml=64MiB of the names text, "
        ):
            limits.of("xml")


def test_gzip_bombs_of_the_command(tmp_path: Path) -> None:
    """A list of 80 million images, and a key of 300 MB."""
    truth = tmp_path / "gt.json"
    truth.write_text('{"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1}]}')
    start = b'{"annotations":[],"images":[{"id":1}'
    bomb = packed(tmp_path / "images.json.gz", start, *[b',{"id":1}' * 100_000] * 800, b"]}")
    said, more = run("evaluate", truth, bomb)
    assert re.search(r"unpacks to too much: expected at most [\d,]+ bytes, got more: FASTDET_LIMITS=unpacked=", said)
    assert more < 150
    bomb = packed(tmp_path / "key.json.gz", b'{"annotations":[],"', *[b"x" * (1 << 20)] * 300, b'":1}')
    said, more = run("evaluate", truth, bomb)
    assert "expected at most 4194304 bytes, got more: FASTDET_LIMITS=text=" in said
    assert more < 150


@pytest.mark.usefixtures("reader")
def test_gzip_bombs_of_every_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDET_LIMITS", "unpacked=1MiB")
    path = packed(tmp_path / "x.json.gz", b'{"annotations": []', b" " * (3 << 20), b', "images": [], "categories": []}')
    for read in (coco.read_coco, coco.read_coco_results, COCO, detections.read):
        refused("unpacked", read, path)
    path = packed(tmp_path / "y.json.gz", b'{"annotations": [], "images": [], "categories": []}')
    data = COCO(path)
    packed(path, b" " * (3 << 20))
    refused("unpacked", lambda: data.dataset)
    monkeypatch.setenv("FASTDET_LIMITS", "unpacked=4MiB")
    assert coco.read_coco(tmp_path / "x.json.gz").images.tolist() == []
    real = packed(
        tmp_path / "z.json.gz", json.dumps([json.loads(BOX + "}") | {"score": i / 1e5} for i in range(60_000)]).encode()
    )
    monkeypatch.setenv("FASTDET_LIMITS", "unpacked=1")  # a hundred times the file is allowed in any case
    assert len(coco.read_coco_results(real).scores) == 60_000


@pytest.mark.usefixtures("reader")
def test_long_records_keys_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDET_LIMITS", "text=10000")
    long = "x" * 20_000
    path = tmp_path / "x.json"

    def read() -> Content:
        return coco.coco_content(path, "results", string_ids=True)

    for document in (
        f'[{BOX}, "x": "{long}"}}]', f'[{BOX}, "x": [{"{}," * 9000}{{}}]}}]', f'{{"{long}": 1, "annotations": []}}',
        f"[{BOX}}}]".replace("7", f'"{long}"'), f'[{BOX}, "{long}": 1}}]',
    ):  # fmt: skip
        path.write_text(document)
        refused("text", read)
        refused("text", detections.read, path)
    path.write_text(f'{{"info": "{long}", "annotations": [{BOX}}}]}}')  # skipped, not kept
    assert read().boxes.image.tolist() == [7]


@pytest.mark.usefixtures("reader")
def test_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDET_LIMITS", "images=1000")
    path = tmp_path / "x.json"
    for images, categories in ((1001, 1), (1, 1001)):
        lists = [[{"id": i} for i in range(n)] for n in (images, categories)]
        path.write_text(json.dumps({"images": lists[0], "annotations": [], "categories": lists[1]}))
        refused("images", coco.read_coco, path)


def test_a_long_name_among_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of strings give each the room of the longest: 12 MB of text became 1.6 GB."""
    monkeypatch.setenv("FASTDET_LIMITS", "unpacked=1MiB")
    ids = ["x" * 10_000, *map(str, range(100))]
    text = refused("unpacked", npz.image_array, ids, Path("out.npz"))
    assert "got 101, the longest of 10,000 characters" in text
    assert npz.image_array(ids[1:], Path("out.npz")).shape == (100,)


def _npz(
    path: Path, *, claim: tuple[int, ...] | None = None, method: int = zipfile.ZIP_DEFLATED, **arrays: np.ndarray
) -> Path:
    """An NPZ; the header of the first array may claim another shape."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for i, (name, array) in enumerate(arrays.items()):
            head = io.BytesIO()
            shape = claim if claim is not None and i == 0 else array.shape
            fields = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(head, fields)  # type: ignore[no-untyped-call]
            archive.writestr(f"{name}.npy", head.getvalue() + array.tobytes())
    return path


def test_npz_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = np.zeros((1 << 15, 4)), np.zeros(1 << 15)
    path = _npz(tmp_path / "x.npz", boxes=boxes, scores=scores)
    assert len(npz.read_npz(path).boxes) == 1 << 15
    monkeypatch.setenv("FASTDET_LIMITS", "unpacked=100000")
    refused("unpacked", npz.read_npz, path)
    path = _npz(tmp_path / "x.npz", boxes=boxes[:5], area=scores)
    refused("unpacked", npz_data.read_npz, path, 0.0)
    path = _npz(tmp_path / "x.npz", maps=np.zeros((2, 2, 2), np.uint8), names=np.zeros(2, "U16000"))
    refused("unpacked", label_maps.load, path)
    monkeypatch.setenv("FASTDET_LIMITS", "maps=1000")
    refused("maps", label_maps.load, _npz(tmp_path / "x.npz", maps=np.zeros((20, 20, 20), np.uint8)))
    monkeypatch.setenv("FASTDET_LIMITS", "pixels=100")
    refused("pixels", label_maps.load, _npz(tmp_path / "x.npz", maps=np.zeros((20, 20, 20), np.uint8)))
    np.save(tmp_path / "x.npy", np.zeros((20, 20, 20), np.uint8))
    refused("pixels", label_maps.load, tmp_path / "x.npy")


@pytest.mark.parametrize(
    "claim", [(1 << 60, 4), (1 << 62, 1 << 62), (1 << 64, 4), (-1, 4), (3, 4), (True, 4), (0, 1 << 61)]
)
def test_headers_that_lie(tmp_path: Path, claim: tuple[int, ...]) -> None:
    path = _npz(tmp_path / "x.npz", claim=claim, boxes=np.zeros((2, 4)), scores=np.zeros(2))
    with pytest.raises(FormatError) as caught:
        npz.read_npz(path)
    assert str(caught.value).startswith(f"{path}: boxes: expected ")
    assert "\n" not in str(caught.value)


def test_odd_archives(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = _npz(tmp_path / "x.npz", method=method, boxes=np.zeros((2, 4)), scores=np.zeros(2))
        with pytest.raises(
            FormatError, match="boxes: expected an array that is stored or deflated, got another compression"
        ):
            npz.read_npz(path)
    whole = bytearray(
        _npz(tmp_path / "x.npz", method=zipfile.ZIP_STORED, boxes=np.zeros((2, 4)), scores=np.zeros(2)).read_bytes()
    )
    for at in (whole.index(b"PK\x03\x04") + 6, whole.index(b"PK\x01\x02") + 8):
        whole[at] |= 1  # encrypted
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(FormatError, match=r"boxes: expected a plain array, got a damaged one: .*encrypted"):
        npz.read_npz(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("boxes", b"no array")
    with (
        Archive(tmp_path / "x.npz") as opened,
        pytest.raises(FormatError, match="boxes: expected an array, got other data"),
    ):
        opened.read("boxes")


def test_many_names_of_maps(tmp_path: Path) -> None:
    """40,000 names, one twice: they are counted once, not once for each."""
    called = [f"n{i}" for i in range(39_999)] + ["n7"]
    path = _npz(tmp_path / "x.npz", maps=np.zeros((40_000, 1, 1), np.uint8), names=np.array(called))
    with pytest.raises(FormatError, match="names: expected one map a name, got n7 twice"):
        label_maps.load(path)


def test_xml(tmp_path: Path) -> None:
    """A long attribute takes quadratic time in expat before 2.6; entities stand for gigabytes."""
    (tmp_path / "a.xml").write_bytes(b'<annotation a="' + b"x" * (32 << 20) + b'"/>')
    assert "expected at most 8,388,608 bytes, got 33,554,450" in refused("xml", voc.read_voc, tmp_path)
    levels = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "lol">{levels}]><annotation><object>&l9;</object></annotation>'
    for encoding in ("utf-8", "utf-16", "gb18030"):
        said = f'<?xml version="1.0" encoding="{encoding}"?>' if encoding != "utf-16" else ""
        (tmp_path / "a.xml").write_bytes((said + bomb).encode(encoding))
        with pytest.raises(FormatError, match="expected XML without entities of its own, got <!ENTITY"):
            voc.read_voc(tmp_path)
    (tmp_path / "a.xml").write_bytes(bomb.encode("utf-16-le"))
    with pytest.raises(FormatError, match="not XML: it has zero bytes"):
        voc.read_voc(tmp_path)


def test_text_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDET_LIMITS", "names=100,lines=100")
    (tmp_path / "x.yaml").write_text("names: [" + "a," * 100 + "]")
    refused("names", names.read_names, "x", tmp_path / "x.yaml")
    (tmp_path / "x.txt").write_text("x" * 1000)
    refused("names", names.read_names, "x", tmp_path / "x.txt")
    from fastdet._files import txt

    refused("lines", txt.read_txt, tmp_path)
    monkeypatch.delenv("FASTDET_LIMITS")
    (tmp_path / "x.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n")
    with pytest.raises(FormatError, match="expected YAML without aliases, got one in line 2"):
        names.read_names("x", tmp_path / "x.yaml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_in_folders_are_not_waited_for(tmp_path: Path) -> None:
    from fastdet._files import pictures, txt

    os.mkfifo(tmp_path / "a.txt")
    for read in (txt.read_txt, lambda folder: pictures.size(folder / "a.txt")):
        with pytest.raises(FormatError, match=r"expected an? (file|image), got a pipe"):
            read(tmp_path)


def test_curves_of_many_classes(tmp_path: Path) -> None:
    """30,000 classes in 3 MB: their curves would take 5.8 GB. Until then all work is linear."""
    count = 30_000
    boxes = [{"id": i, "image_id": 7, "category_id": i, "bbox": [1, 2, 3, 4]} for i in range(count)]
    classes = [{"id": i, "name": f"c{i}", "supercategory": "s"} for i in range(count)]
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"images": [{"id": 7}], "annotations": boxes, "categories": classes}))
    (tmp_path / "dt.json").write_text(f"[{BOX}}}]")
    said, more = run("evaluate", path, tmp_path / "dt.json")
    assert (
        "30,000 classes at 10 thresholds, 101 recalls, 4 areas and 3 limits take 5,817,600,000 bytes of curves" in said
    )
    assert said.endswith("FASTDET_LIMITS=curves=5817600000 raises the limit")
    assert more < 250
    data = COCO(path)
    one = COCOeval(data, data.loadRes(tmp_path / "dt.json"), "bbox")
    one.evaluate()
    assert refused("curves", one.accumulate).startswith("COCOeval: 30,000 classes")


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    count = 200_000
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4 * count)), 4)
    columns = {"image_id": np.zeros(count, np.int64), "category_id": np.zeros(count, np.int64), "bbox": boxes}
    pq.write_table(pa.table({**columns, "score": np.zeros(count)}), tmp_path / "x.parquet")
    assert len(parquet.read_parquet_results(tmp_path / "x.parquet").scores) == count
    monkeypatch.setenv("FASTDET_LIMITS", "unpacked=1MiB")
    refused("unpacked", parquet.read_parquet_results, tmp_path / "x.parquet")
