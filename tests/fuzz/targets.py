"""The parsers that are fuzzed: for each a few small invented files, and how to read one.

A parser returns, or raises fastdet's own error of one line. Anything else is a failure.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuzz import mask_targets, shape_targets
from fuzz.mutations import mutated, with_checksums

from fastdet._core.limits import LimitError
from fastdet._files import (
    coco,
    coco_text,
    detections,
    label_maps,
    label_tables,
    names,
    npz_data,
    palettes,
    panoptic,
    pictures,
    png,
    txt,
    voc,
    yolo,
)
from fastdet._files.data_set import DataSet
from fastdet._files.errors import ChoiceError, Faults, FormatError
from fastdet._files.label_rules import Rules
from fastdet._files.table import Kept
from fastdet.coco import COCO
from fastdet.detection.records import Columns

ERRORS = (FormatError, ChoiceError, LimitError)


class Target(NamedTuple):
    """A parser. ``read`` gets the bytes and an empty folder."""

    seeds: list[bytes]
    read: Callable[[bytes, Path], object]
    change: Callable[[random.Random, bytes, list[bytes]], bytes] = mutated


RESULT = b'{"image_id": 7, "category_id": 1, "bbox": [1, 2.5, 3e1, 4], "score": 0.10}'
RESULTS = [
    b"["
    + RESULT
    + b', {"image_id": "b.jpg", "category_id": 2, "bbox": [0,0,1,1], "score": 1, "x": {"a": [1, "\\u00e9"]}}]',
    b'{"images": [{"id": 7, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "cat"}], "annotations": ['
    + RESULT
    + b"]}",
]
DATA_SET = b"""{"info": {"a": null}, "images": [{"id": 7, "file_name": "a.jpg", "width": 40, "height": 30}],
"annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12.5, "iscrowd": 0,
"ignore": 0, "segmentation": [[1, 2, 3]]}], "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}]}"""
VOC = b"""<?xml version="1.0" encoding="utf-8"?><annotation><size><width>40</width><height>30</height></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9.5</xmax><ymax>8</ymax></bndbox>
</object></annotation>"""
VOC_UTF16 = VOC.decode().encode("utf-16")
YAML = b"path: data\nnc: 2\nnames: [cat, 'dog']\ntrain: images\n"


def _data() -> DataSet:
    """A data set of one image of 40 x 30 pixels and two classes."""
    truth = Columns(
        np.array([0]), np.array([0]), np.array([[1.0, 2, 8, 6]]), np.array([48.0]), np.zeros(0),
        np.zeros(1, np.uint8), np.array([1]),
    )  # fmt: skip
    return DataSet(np.array([0]), ["a"], np.array([[40, 30]]), np.array([0, 1]), ["cat", "dog"], truth)


def _put(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# -------------------------------------------------------------------------------------------------- JSON
def _skipping(data: bytes, folder: Path) -> object:
    return coco_text.parse("x", io.BytesIO(data), "results", string_ids=True, spans=True, faults=Faults(skip=True))


def _nms(name: str) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> object:
        table = detections.read(_put(data, folder, name))
        try:
            rows = np.arange(int(table.offsets[-1])) if table.rows is None else table.rows
            kept = Kept(rows, table.offsets, None)
            detections.write(table, kept, folder / "out.json")
        finally:
            table.close()
        return None

    return run


def _coco_object(data: bytes, folder: Path) -> object:
    data_set = COCO(_put(data, folder, "gt.json"))
    return data_set.cats, data_set.loadRes([]), data_set.getCatIds()


# ----------------------------------------------------------------------------------------------- folders
def _folder(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> object:
        _put(data, folder, name)
        return read(folder)

    return run


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    return lambda data, folder: read(_put(data, folder, name))


# --------------------------------------------------------------------------------------------- NPZ, maps
def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _packed(data: bytes) -> bytes:
    """The same NPZ, deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


def _npy(x: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(x))
    return file.getvalue()


BOXES = _npz(boxes=np.array([[0.0, 1, 2, 3]]), scores=np.array([0.5]), labels=np.array([1]), image_ids=np.array(["a"]))
TRUTH = _npz(
    boxes=np.array([[0.0, 1, 2, 3]]), labels=np.array([0]), images=np.array([0]), image_names=["a"], area=[4.0]
)
STACK = _npz(maps=np.arange(24, dtype=np.uint8).reshape(2, 3, 4), names=np.array(["a", "b"]))


def _maps(path: Path) -> object:
    maps = label_maps.load(path)
    return [(maps.shape(i), maps.read(i)) for i in range(len(maps))]


def _label_map(path: Path) -> object:
    coloured = label_maps.Folder(path.parent, Rules(palette=palettes.load("voc"), ignore=(255,)))
    coloured.shape(0)
    with contextlib.suppress(FormatError):
        return coloured.read(0)
    return label_maps.Folder(path.parent).read(0)


def _pictures() -> dict[str, bytes]:
    from PIL import Image

    def saved(image: Any, kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    rgb = Image.fromarray(np.zeros((3, 4, 3), np.uint8))
    indexed = grey.convert("P")
    return {
        "grey": saved(grey, "PNG"), "rgb": saved(rgb, "PNG"), "indexed": saved(indexed, "PNG"),
        "rgba": saved(rgb.convert("RGBA"), "PNG"), "turned": saved(rgb, "PNG", exif=exif),
        "jpeg": saved(rgb, "JPEG", exif=exif),
        "webp": saved(rgb, "WEBP", exif=exif), "gif": saved(grey, "GIF"), "bmp": saved(grey, "BMP"),
        "tiff": saved(grey, "TIFF"), "tiff lzw": saved(grey, "TIFF", compression="tiff_lzw"),
    }  # fmt: skip


def _colours(data: bytes, folder: Path) -> object:
    """By the C++ reader and by Pillow: both must take or refuse it, and see the same colours."""
    try:
        found = png.read_rgb(data)
    except FormatError:
        with contextlib.suppress(FormatError):
            if png.read(data).kind == "rgb" and data[24] == 8 and data[25] == 2:  # depth and kind: 8-bit RGB
                raise AssertionError("only Pillow reads it") from None
        raise
    assert np.array_equal(found, png.read(data).values), "the readers differ"
    return found


PANOPTIC = b"""{"annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 2,
"iscrowd": 0, "area": 12, "bbox": [0, 0, 4, 3]}]}], "categories": [{"id": 2, "name": "cat", "isthing": 1}]}"""


def _panoptic(data: bytes, folder: Path) -> object:
    found = panoptic.load(_put(data, folder, "x.json"), folder, "folder")
    for record in found.records.values():
        found.segments(record, {2: 0})
    return found


def _png_change(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    data = mutated(rng, data, others)
    return with_checksums(data) if rng.randrange(4) else data


def _parquet() -> dict[str, Target]:
    if importlib.util.find_spec("pyarrow") is None:
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fastdet._files import parquet

    file = io.BytesIO()
    columns = {"image_id": [1], "category_id": [2], "bbox": [[1.0, 2, 3, 4]], "score": [0.5], "area": [12.0]}
    pq.write_table(pa.table(columns), file)
    seeds = [file.getvalue()]
    return {
        "parquet results": Target(seeds, _file("x.parquet", parquet.read_parquet_results)),
        "parquet truth": Target(seeds, _file("x.parquet", parquet.read_parquet)),
    }


def _image_targets() -> dict[str, Target]:
    if importlib.util.find_spec("PIL") is None:
        return {}
    files = _pictures()
    grey = [files[name] for name in ("grey", "rgb", "indexed", "rgba")]
    return {
        "png": Target(grey, _file("a.png", _label_map), _png_change),
        "png colours": Target([files["rgb"]], _colours, _png_change),
        "tiff": Target([files["tiff"], files["tiff lzw"]], _file("a.tif", _label_map)),
        "bmp": Target([files["bmp"]], _file("a.bmp", _label_map)),
        "picture size": Target(list(files.values()), _file("a.jpg", pictures.size)),
    }


def all_targets() -> dict[str, Target]:
    """Every target by name."""
    sizes = {"a": (40, 30)}
    boxes = [b"cat 1 2 9 8\ndog 0 0 4.5 4 difficult\n"]
    scored = [b"cat 0.5 1 2 9 8\r\ndog 1e-3 0 0 4 4\n"]
    fractions = [b"0 0.5 0.5 0.2 0.1\n1 0.5 0.5 1 1\n", b"0 0.1 0.1 0.9 0.1 0.9 0.9\n"]
    found = {
        "json results": Target(RESULTS, shape_targets.both("results", string_ids=True, spans=True)),
        "json results, number ids": Target(RESULTS, shape_targets.both("results", string_ids=False)),
        "json data set": Target([DATA_SET], shape_targets.both("data set", string_ids=False)),
        "json names": Target([DATA_SET, *RESULTS], shape_targets.both("names", string_ids=False)),
        "json, invalid records skipped": Target(RESULTS, _skipping),
        "json masks": Target(shape_targets.RESULTS, shape_targets.both("results", "segm")),
        "json masks or boxes": Target(shape_targets.RESULTS, shape_targets.both("results", "any")),
        "json of any kind": Target(shape_targets.RESULTS + shape_targets.POSES, shape_targets.both("results", "auto")),
        "json poses": Target(shape_targets.POSES, shape_targets.both("results", "keypoints")),
        "json true masks": Target(shape_targets.DATA_SETS, shape_targets.both("data set", "segm")),
        "json true poses": Target(shape_targets.DATA_SETS[-1:], shape_targets.both("data set", "keypoints")),
        "json masks, invalid records skipped": Target(shape_targets.RESULTS, shape_targets.skipping),
        "COCO results with masks": Target(shape_targets.RESULTS, shape_targets.loaded),
        "nms json": Target(RESULTS, _nms("in.json")),
        "nms gzip": Target([gzip.compress(x, mtime=0) for x in RESULTS], _nms("in.json.gz")),
        "panoptic": Target([PANOPTIC], _panoptic),
        "COCO": Target([DATA_SET], _coco_object),
        "coco data set": Target([DATA_SET], _file("gt.json", coco.read_coco)),
        "voc": Target([VOC, VOC_UTF16, VOC.replace(b"utf-8", b"gb2312")], _folder("a.xml", voc.read_voc)),
        "voc results": Target([b"a 0.5 1 2 9 8\n"], _folder("x_cat.txt", lambda f: voc.read_voc_results(f, _data()))),
        "yolo": Target(fractions, _folder("a.txt", lambda f: yolo.read_yolo(f, sizes))),
        "yolo classes": Target([b"cat\ndog\n"], _yolo_classes),
        "yolo results": Target(
            [b"0 0.5 0.5 0.2 0.1 0.9\n"], _folder("a.txt", lambda f: yolo.read_yolo_results(f, _data()))
        ),
        "mask text": Target(mask_targets.TEXTS, mask_targets.text),
        "mask polygons": Target(mask_targets.POLYGONS, mask_targets.polygons, mask_targets.changed),
        "txt": Target(boxes, _folder("a.txt", txt.read_txt)),
        "txt results": Target(scored, _folder("a.txt", lambda f: txt.read_txt_results(f, _data()))),
        "nms npz": Target([BOXES, _packed(BOXES)], _nms("in.npz")),
        "npz data set": Target([TRUTH, _packed(TRUTH)], _file("gt.npz", lambda p: npz_data.read_npz(p, 0.0))),
        "npz maps": Target([STACK, _packed(STACK)], _file("x.npz", _maps)),
        "npy maps": Target([_npy(np.zeros((2, 3, 4), np.uint8))], _file("x.npy", _maps)),
        "npy map": Target([_npy(np.zeros((3, 4), np.int16))], _file("a.npy", _label_map)),
        "names": Target([b"cat\ndog\n"], _file("x.txt", lambda p: names.read_names("x", p))),
        "palette": Target([b"0 0 0 road\n1,2,3 car # x\n9 9 9 void\n"], _file("x", lambda p: palettes.load(str(p)))),
        "label table": Target(
            [b"0 0\n255: void\nother 1\n", b'{"0": 0, "1": 1, "255": null}'],
            _file("x", lambda p: label_tables.load(str(p))),
        ),
    }  # fmt: skip
    return {**found, **_yaml(), **_image_targets(), **_parquet()}


def _yaml() -> dict[str, Target]:
    if importlib.util.find_spec("yaml") is None:
        return {}
    seeds = [YAML, b"names:\n  0: cat\n  1: dog\n"]
    return {"names yaml": Target(seeds, _file("x.yaml", lambda p: names.read_names("x", p)))}


def _yolo_classes(data: bytes, folder: Path) -> object:
    _put(data, folder, "classes.txt")
    _put(b"0 0.5 0.5 0.2 0.1\n", folder, "a.txt")
    return yolo.read_yolo(folder, {"a": (40, 30)})
