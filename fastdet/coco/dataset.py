"""`COCO`: data sets and results of COCO's JSON, with the methods and attributes of pycocotools."""

from __future__ import annotations

import copy
import importlib
import json
import os
import sys
import types
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco import coco_content, opened
from fastdet._files.coco_objects import Content, columns_of, content_of
from fastdet._files.data_set import check_known
from fastdet._files.errors import FormatError
from fastdet.coco.evaluation import COCOeval, Params
from fastdet.detection.records import Columns

Ids = int | Sequence[int] | Array


def _listed(x: Any) -> list[Any]:
    """A list of x, or of its items; pycocotools accepts a single value wherever it accepts a list."""
    return list(x) if isinstance(x, Iterable) and not isinstance(x, str) else [x]


def _area(annotation: Mapping[str, Any]) -> Any:
    return annotation["area"] if "area" in annotation else annotation["bbox"][2] * annotation["bbox"][3]


class COCO:
    """A data set in COCO's format, or the results that `loadRes` returns.

    Parameters
    ----------
    annotation_file : str, path or dict, optional
        COCO's JSON (also ``.json.gz``), or its content. None makes an empty object: assign ``dataset`` and call
        ``createIndex``.

    Attributes
    ----------
    dataset : dict
        The content, and ``anns``, ``cats``, ``imgs``, ``imgToAnns``, ``catToImgs`` as in pycocotools. They are made at
        the first use, by reading the file again, because evaluation does not need them. Once they exist, evaluation
        uses them, changes included.

    Raises
    ------
    FormatError
        A ValueError of one line: the file, the record, the field, the expected value and the actual one.
    """

    __module__ = "fastdet.coco"

    def __init__(self, annotation_file: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> None:
        self._path: str | None = None
        self._content: Content | None = None
        self._dataset: Any = None
        self._results: Any = None  # from loadRes: (source, columns, data set)
        self._tables: dict[str, Any] | None = None
        if annotation_file is None:
            self._dataset = {}
        elif isinstance(annotation_file, Mapping):
            self._dataset = annotation_file
            self._content = content_of("COCO", annotation_file)
        elif isinstance(annotation_file, str | os.PathLike):
            self._path = os.fspath(annotation_file)
            self._content = coco_content(self._path, "data set")
        else:
            raise TypeError(f"COCO: annotation_file must be a path or a dict, got {type(annotation_file).__name__}")

    # The content
    @property
    def dataset(self) -> Any:
        if self._dataset is None:
            self._dataset = self._result_dicts() if self._results is not None else _load(str(self._path))
        return self._dataset

    @dataset.setter
    def dataset(self, value: Any) -> None:
        self._dataset, self._content, self._results, self._tables = value, None, None, None

    def _result_dicts(self) -> dict[str, Any]:
        """The results as the dictionaries that pycocotools' loadRes makes."""
        source, columns, data = self._results
        records = _load(source) if isinstance(source, str) else source
        if isinstance(records, Mapping):
            records = records["annotations"]
        if isinstance(records, np.ndarray):
            records = COCO.loadNumpyAnnotations(self, records)
        annotations = []
        for i, (record, area) in enumerate(zip(records, columns.areas.tolist(), strict=True), 1):
            x, y, w, h = record["bbox"]
            outline = [[x, y, x, y + h, x + w, y + h, x + w, y]]
            annotations.append({"segmentation": outline, **record, "area": area, "id": i, "iscrowd": 0})
        images, categories = data.dataset.get("images", []), data.dataset.get("categories", [])
        return {"images": list(images), "categories": copy.deepcopy(categories), "annotations": annotations}

    def createIndex(self) -> None:
        """Make ``anns``, ``imgs``, ``cats``, ``imgToAnns`` and ``catToImgs`` from ``dataset``."""
        data = self.dataset
        tables: dict[str, Any] = {name: {} for name in ("anns", "cats", "imgs")}
        tables["imgToAnns"], tables["catToImgs"] = defaultdict(list), defaultdict(list)
        for annotation in data.get("annotations", []):
            tables["imgToAnns"][annotation["image_id"]].append(annotation)
            tables["anns"][annotation["id"]] = annotation
            if "categories" in data:
                tables["catToImgs"][annotation["category_id"]].append(annotation["image_id"])
        for image in data.get("images", []):
            tables["imgs"][image["id"]] = image
        for category in data.get("categories", []):
            tables["cats"][category["id"]] = category
        self._tables = tables

    def __getattr__(self, name: str) -> Any:
        if name not in ("anns", "cats", "imgs", "imgToAnns", "catToImgs"):
            raise AttributeError(f"COCO has no attribute {name!r}")
        if self.__dict__.get("_tables") is None:
            self.createIndex()
        assert self._tables is not None
        return self._tables[name]

    def _columns(self) -> Columns:
        """The boxes to evaluate, from the dictionaries if they exist: the caller may have changed them."""
        if self._results is not None and self._dataset is None:
            columns: Columns = self._results[1]
            return columns
        if self._path is not None and self._dataset is None:
            assert self._content is not None
            return self._content.boxes
        return columns_of("COCO", "annotations", self.dataset.get("annotations", []), results=False)

    # Queries
    def info(self) -> None:
        """Print the data set's description."""
        for key, value in self.dataset["info"].items():
            print(f"{key}: {value}")

    def getAnnIds(
        self, imgIds: Ids = (), catIds: Ids = (), areaRng: Sequence[float] = (), iscrowd: bool | None = None
    ) -> list[int]:
        """Ids of the annotations of these images and categories, with an area inside ``areaRng``. Empty: no filter."""
        images, categories = _listed(imgIds), _listed(catIds)
        annotations = self.dataset.get("annotations", [])
        if images:
            annotations = [a for i in images if i in self.imgToAnns for a in self.imgToAnns[i]]
        if categories:
            wanted = set(categories)
            annotations = [a for a in annotations if a["category_id"] in wanted]
        if len(areaRng):
            annotations = [a for a in annotations if areaRng[0] < _area(a) < areaRng[1]]
        return [a["id"] for a in annotations if iscrowd is None or a.get("iscrowd", 0) == iscrowd]

    def getCatIds(
        self, catNms: str | Sequence[str] = (), supNms: str | Sequence[str] = (), catIds: Ids = ()
    ) -> list[int]:
        """Ids of the categories with these names, supercategories and ids. Empty: no filter."""
        names, supercategories, ids = _listed(catNms), _listed(supNms), _listed(catIds)
        if self._dataset is None and self._content is not None and not (names or supercategories or ids):
            return list(self._content.categories[0].tolist())
        categories = self.dataset.get("categories", [])
        for wanted, key in ((names, "name"), (supercategories, "supercategory"), (ids, "id")):
            categories = [c for c in categories if c[key] in wanted] if wanted else categories
        return [c["id"] for c in categories]

    def getImgIds(self, imgIds: Ids = (), catIds: Ids = ()) -> list[int]:
        """Ids of the images among these ids that have all of these categories. Empty: no filter."""
        images, categories = _listed(imgIds), _listed(catIds)
        if not images and not categories:
            if self._dataset is None and self._content is not None:
                return list(dict.fromkeys(self._content.images[0].tolist()))
            return list(self.imgs)
        matches = set(images)
        for i, category in enumerate(categories):
            of_category = self.catToImgs.get(category, [])
            matches = set(of_category) if i == 0 and not matches else matches & set(of_category)
        return list(matches)

    def loadAnns(self, ids: Ids = ()) -> list[dict[str, Any]]:
        """The annotations with these ids."""
        return [self.anns[i] for i in _listed(ids)]

    def loadCats(self, ids: Ids = ()) -> list[dict[str, Any]]:
        """The categories with these ids."""
        return [self.cats[i] for i in _listed(ids)]

    def loadImgs(self, ids: Ids = ()) -> list[dict[str, Any]]:
        """The images with these ids."""
        return [self.imgs[i] for i in _listed(ids)]

    # Results
    def loadRes(self, resFile: str | os.PathLike[str] | Sequence[Mapping[str, Any]] | Array) -> COCO:
        """Read detections of this data set's images.

        Parameters
        ----------
        resFile : str, path, list of dict or (N, 7) array
            COCO results ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``; an array has columns
            image id, x, y, width, height, score, class. It may be empty. Other keys are kept.

        Returns
        -------
        COCO
            The detections as annotations: ids 1, 2, ..., ``area`` width * height, ``iscrowd`` 0.
        """
        source: Any = os.fspath(resFile) if isinstance(resFile, str | os.PathLike) else resFile
        if isinstance(source, str):
            content = coco_content(source, "results")
            where, section, columns = source, content.section, content.boxes
        elif isinstance(source, np.ndarray):
            where, section, columns = "loadRes", "results", _array_columns(source)
        else:
            where, section = "loadRes", "results"
            columns = columns_of(where, section, source, results=True)
        known = np.array(self.getImgIds(), np.int64)
        check_known(where, section, "image_id", columns.image, known, "an image of the data set")
        results = COCO()
        results._dataset, results._results = None, (source, columns, self)
        return results

    def loadNumpyAnnotations(self, data: Array) -> list[dict[str, Any]]:
        """Dictionaries of (N, 7) rows: image id, x, y, width, height, score, class."""
        c = _array_columns(data)
        return [
            {"image_id": i, "bbox": box, "score": score, "category_id": label}
            for i, box, score, label in zip(
                c.image.tolist(), c.boxes.tolist(), c.scores.tolist(), c.label.tolist(), strict=True
            )
        ]


def _load(path: str) -> Any:
    with opened(path) as (file, _):
        return json.load(file)


def _array_columns(x: Array) -> Columns:
    if x.ndim != 2 or x.shape[1] != 7:
        raise ValueError(f"loadRes: resFile must have shape (N, 7), got {x.shape}")
    x = x.astype(np.float64)
    invalid = ~np.isfinite(x).all(axis=1) | (x[:, 3:5] < 0).any(axis=1)
    if invalid.any():
        i = int(np.argmax(invalid))
        raise FormatError(f"loadRes: results[{i}]: expected finite numbers and sides >= 0, got {x[i].tolist()}")
    boxes = np.ascontiguousarray(x[:, 1:5])
    image, label = x[:, 0].astype(np.int64), x[:, 6].astype(np.int64)
    areas = boxes[:, 2] * boxes[:, 3]
    return Columns(image, label, boxes, areas, x[:, 5].copy(), np.zeros(0, np.uint8), np.zeros(0, np.int64))


def init_as_pycocotools() -> None:
    """Replace ``pycocotools.coco`` and ``pycocotools.cocoeval`` by this package's classes, in this process.

    Call it before other libraries import them. ``pycocotools.mask`` stays the installed one. If pycocotools is not
    installed, a substitute can be imported, whose functions raise NotImplementedError.
    """
    try:
        mask: Any = importlib.import_module("pycocotools.mask")
    except ImportError:
        mask = _Masks("pycocotools.mask")
    package: Any = types.ModuleType("pycocotools")
    package.__path__ = []  # this marks a module as a package
    coco: Any = types.ModuleType("pycocotools.coco")
    cocoeval: Any = types.ModuleType("pycocotools.cocoeval")
    coco.COCO, cocoeval.COCOeval, cocoeval.Params = COCO, COCOeval, Params
    package.coco, package.cocoeval, package.mask = coco, cocoeval, mask
    named = {"": package, ".coco": coco, ".cocoeval": cocoeval, ".mask": mask}
    sys.modules.update({"pycocotools" + name: module for name, module in named.items()})


class _Masks(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise NotImplementedError(
                f"pycocotools.mask.{name}: fastdet.coco handles boxes; install pycocotools for masks"
            )

        return missing
