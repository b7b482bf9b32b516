"""`COCO`: data sets and results of COCO's JSON, with the methods and attributes of pycocotools."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco import coco_content
from fastdet._files.coco_objects import Content, columns_of, content_of, names_of, sizes_of_images
from fastdet._files.coco_values import ABSENT, fail
from fastdet._files.errors import FormatError
from fastdet._files.json_walk import load_tree
from fastdet._files.packed import opened
from fastdet.coco import hooks, mask
from fastdet.coco.index import Index, Tables
from fastdet.coco.pictures import show
from fastdet.coco.results import (
    ImageSizes,
    Loaded,
    check_same,
    columns_of_kind,
    completed,
    dictionaries,
    load,
    load_file,
    read_records,
)
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
        uses them, changes included. As in pycocotools, a change of the lists of annotations and images in ``dataset``
        needs a ``createIndex``: without it, evaluation raises ValueError.

    Raises
    ------
    FormatError
        A ValueError of one line: the file, the record, the field, the expected value and the actual one.
    """

    __module__ = "fastdet.coco"

    # Defaults of the class: subclasses need not call __init__.
    _path: str | None = None
    _content: Content | None = None
    _dataset: Any = None
    _shapes: tuple[str, Columns] | None = None  # the kind that was read last, beside boxes
    _results: Loaded | None = None  # from loadRes
    _index: Index | None = None  # made by `createIndex`
    _listed: list[list[Any]] | None = None  # the `_lists` of `dataset` when it was loaded or the index was made
    _assigned = False  # `dataset` was assigned to an object that had one

    def __init__(self, annotation_file: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> None:
        if annotation_file is None:
            self._dataset = {}
            return
        if isinstance(annotation_file, Mapping):
            self._dataset = annotation_file
            self._content = content_of("COCO", annotation_file, "any")
        elif isinstance(annotation_file, str | os.PathLike):
            self._path = os.fspath(annotation_file)
            self._content = coco_content(self._path, "data set", iou_type="any")
        else:
            raise TypeError(f"COCO: annotation_file must be a path or a dict, got {type(annotation_file).__name__}")
        if hooks.replaced(self, INDEX_HOOK):
            self.createIndex()  # an index of the script's own, which pycocotools makes here

    # The content
    @property
    def dataset(self) -> Any:
        if self._dataset is None:
            if self._results is not None:
                self._dataset = self._result_dicts()
            else:
                self._dataset = {} if self._path is None else load_file(self._path)
            self._listed = _lists(self._dataset)
        return self._dataset

    @dataset.setter
    def dataset(self, value: Any) -> None:
        self._assigned = any(x is not None for x in (self._content, self._results, self._index))
        self._dataset, self._content, self._results, self._index, self._listed = value, None, None, None, None
        self._shapes = None

    def _result_dicts(self) -> dict[str, Any]:
        """The results as the dictionaries that pycocotools' loadRes makes."""
        assert self._results is not None
        loaded = self._results
        if isinstance(loaded.source, np.ndarray):
            records: Any = COCO.loadNumpyAnnotations(self, loaded.source)
        else:
            records = read_records(loaded.source)
        data = loaded.data.dataset
        images, categories = data.get("images", []), data.get("categories", [])
        annotations = completed(loaded, records)
        return {"images": list(images), "categories": copy.deepcopy(categories), "annotations": annotations}

    def createIndex(self) -> None:
        """Make ``anns``, ``imgs``, ``cats``, ``imgToAnns`` and ``catToImgs`` from ``dataset``."""
        data = self.dataset
        for name in Tables._fields:
            self.__dict__.pop(name, None)  # a table that was assigned
        self._index, self._assigned = Index(data), False
        self._listed = _lists(data)

    def __getattr__(self, name: str) -> Any:
        if name not in Tables._fields:
            raise AttributeError(f"COCO has no attribute {name!r}")
        if self._index is None:
            self._require_unchanged()
            self.createIndex()
            if name in self.__dict__:  # by a createIndex of the script's own
                return self.__dict__[name]
        if self._index is None:
            raise AttributeError(f"COCO has no attribute {name!r}: its createIndex did not make it")
        return getattr(self._index.tables, name)

    def _require_unchanged(self) -> None:
        """Raise ValueError if the list of annotations or images was changed after it was read, without `createIndex`.

        pycocotools leaves such a change out without a word.
        """
        loaded = self._results
        if loaded is not None and loaded.records is not None and not _same_items(loaded.source, loaded.records):
            raise ValueError("COCO: the list of results was changed after loadRes: call loadRes again")
        changed = self._assigned
        if self._listed is not None and self._dataset is not None:
            changed |= not all(map(_same_items, _lists(self._dataset), self._listed))
        if changed:
            raise ValueError("COCO: dataset was changed after the index was made: call createIndex() to use the change")

    def _columns(self, images: Sequence[Any], iou_type: str = "bbox") -> Columns:
        """The boxes, masks ("segm") or keypoints to evaluate, of these images or more.

        From the dictionaries if they exist: the caller may have changed them, or the tables of the index.
        """
        self._require_unchanged()
        touched = self._index is not None or any(name in self.__dict__ for name in Tables._fields)
        if self._dataset is None and not touched:
            if self._results is not None:
                return self._result_columns(self._results, iou_type)
            if self._content is not None:
                return self._true_columns(iou_type)
        annotations = self.dataset.get("annotations", [])
        if touched and (self._index is None or self._index.differs(*self._tables())):
            annotations = self._indexed(images)
        return columns_of(
            "COCO", "annotations", annotations, results=False, iou_type=iou_type,
            sizes=sizes_of_images(self._image_sizes()) if iou_type == "segm" else None,
            detected=self._results is not None,
        )  # fmt: skip

    def _result_columns(self, loaded: Loaded, iou_type: str) -> Columns:
        """The columns of `loadRes`. Masks and keypoints of a file are read when they are first asked for."""
        if self._shapes is not None and self._shapes[0] == iou_type:
            return self._shapes[1]
        columns = columns_of_kind(loaded, iou_type, self._image_sizes())
        if iou_type != "bbox" and isinstance(loaded.source, str):
            self._shapes = iou_type, columns
        return columns

    def _true_columns(self, iou_type: str) -> Columns:
        """The columns of the file. Masks and keypoints are read when they are first asked for."""
        assert self._content is not None
        assert self._path is not None
        boxes = self._content.boxes
        if iou_type == "bbox":
            missing = np.isnan(boxes.boxes[:, 0])
            if missing.any():
                fail(self._path, "annotations", int(np.argmax(missing)), "bbox", "four numbers", ABSENT)
            return boxes
        if self._shapes is None or self._shapes[0] != iou_type:
            columns = coco_content(self._path, "data set", iou_type=iou_type).boxes
            check_same(self._path, boxes, columns)
            self._shapes = iou_type, columns
        return self._shapes[1]

    def _image_sizes(self) -> ImageSizes:
        """Ids (I,) of images, and their widths and heights (I, 2), 0 where unknown."""
        if self._dataset is None and self._results is not None:
            sizes: ImageSizes = self._results.data._image_sizes()
            return sizes
        if self._dataset is None and self._content is not None:
            return self._content.images[0], self._content.images[2]
        ids, _, of_images = names_of("COCO", {"images": self.dataset.get("images", [])}).images
        return ids, of_images

    def _tables(self) -> tuple[Any, Any]:
        """``anns`` and ``imgToAnns``, which may have been assigned."""
        return self.anns, self.imgToAnns

    def _indexed(self, images: Sequence[Any]) -> list[Any]:
        """The annotations of images by ``imgToAnns`` and ``anns``, as pycocotools looks them up."""
        anns, of_image = self._tables()
        listed = [a for i in images if i in of_image for a in of_image[i]]
        made = {} if self._index is None else self._index.anns
        found = []
        for a in listed:
            i = a["id"]
            if i not in anns:
                raise ValueError(f"COCO: anns must have annotation {i}, which imgToAnns lists: change both")
            found.append(anns[i] if anns[i] is not made.get(i) else a)  # equal ids stay two annotations
        known = {a["id"] for annotations in of_image.values() for a in annotations}
        for i in anns:
            if i not in made and i not in known:
                raise ValueError(f"COCO: imgToAnns must list annotation {i}, which anns has: change both")
        return found

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
            COCO results ``{"image_id", "category_id", "score"}`` with ``bbox`` [x, y, width, height], ``segmentation``
            (run lengths, compressed or not, or polygons) or ``keypoints`` [x, y, score, ...], or several of them; an
            array has columns image id, x, y, width, height, score, class. It may be empty. Other keys are kept.

        Returns
        -------
        COCO
            The detections as annotations: ids 1, 2, ..., and what they lack. The first record decides for all, as in
            pycocotools: if it has a box, ``area`` is width * height, and ``segmentation`` the box where it is absent;
            else, if it has a mask, ``area`` is that of the mask, and ``bbox`` where it is absent; else area and box are
            those of the extent of all keypoints.
        """
        source: Any = os.fspath(resFile) if isinstance(resFile, str | os.PathLike) else resFile
        if isinstance(source, np.ndarray) and hooks.replaced(self, NUMPY_HOOK):
            source = self.loadNumpyAnnotations(source)
        results = COCO()
        results._dataset = None
        results._results = load(source, self, np.array(self.getImgIds(), np.int64), self._image_sizes())
        if hooks.replaced(results, INDEX_HOOK):
            results.createIndex()
        return results

    def loadNumpyAnnotations(self, data: Array) -> list[dict[str, Any]]:
        """Dictionaries of (N, 7) rows: image id, x, y, width, height, score, class."""
        return dictionaries(data)

    # Masks, pictures and downloads, which pycocotools has
    def annToRLE(self, ann: Mapping[str, Any]) -> dict[str, Any]:
        """The mask of an annotation as COCO's dictionary. Polygons need the height and width of the image."""
        segmentation = ann["segmentation"]
        if isinstance(segmentation, list | tuple):
            image = self.imgs[ann["image_id"]]
            for side in ("height", "width"):
                if side not in image:
                    raise ValueError(f"COCO.annToRLE: image {ann['image_id']} must have {side}, which polygons need")
            return mask.merge(mask.frPyObjects(segmentation, image["height"], image["width"]))
        if isinstance(segmentation["counts"], bytes | str):
            result: dict[str, Any] = segmentation
            return result
        packed: dict[str, Any] = mask.frPyObjects(segmentation, *segmentation["size"])
        return packed

    def annToMask(self, ann: Mapping[str, Any]) -> Array:
        """The mask of an annotation, (H, W) uint8, columns are dense."""
        return mask.decode(self.annToRLE(ann))

    def showAnns(self, anns: Sequence[Mapping[str, Any]], draw_bbox: bool = False) -> Any:
        """Draw annotations into pyplot's current axes, in random colours; print the captions of captions.

        Polygons are filled, masks are laid over the image, keypoints are joined by their category's ``skeleton``.
        ``draw_bbox``: their boxes too. Needs matplotlib.
        """
        return show(self, anns, draw_bbox)

    def download(self, tarDir: str | os.PathLike[str] | None = None, imgIds: Ids = ()) -> NoReturn:
        """Raises NotImplementedError: fastdet fetches nothing."""
        raise NotImplementedError(
            "COCO.download: fastdet fetches nothing from the network; "
            "fetch each image's 'coco_url' of loadImgs(ids), or the archives of cocodataset.org"
        )


INDEX_HOOK = hooks.originals(COCO, ("createIndex",))
NUMPY_HOOK = hooks.originals(COCO, ("loadNumpyAnnotations",))
QUERIES = hooks.originals(COCO, ("getAnnIds", "loadAnns"))  # what pycocotools' evaluation asks for annotations


def _lists(data: Mapping[str, Any]) -> list[list[Any]]:
    """Copies of the lists of annotations and images."""
    return [list(data.get(name, [])) for name in ("annotations", "images")]


def _same_items(a: Any, b: Sequence[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def ignored_annotations(source: COCO | str | os.PathLike[str] | Mapping[str, Any]) -> Array:
    """Ids of the annotations whose own ``ignore`` is set and that are no crowds.

    COCO's evaluation does not know the field: pycocotools overwrites it by ``iscrowd``, and `COCOeval` leaves it out:
    these annotations count like any other. Other tools' files use it for objects that need no detection.
    `fastdet.detection.DetectionMetrics` honours the keys ``ignore`` and ``difficult`` of its targets.

    Parameters
    ----------
    source : a `COCO`, or a path or dict as `COCO` takes it

    Returns
    -------
    ids : (N,) int64, in the order of the annotations

    Raises
    ------
    FormatError  a file that is not COCO's JSON; an ``ignore`` other than 0, 1, true and false

    Examples
    --------
    >>> ignored_annotations({"annotations": [{"id": 4, "ignore": 1}, {"id": 5, "ignore": 1, "iscrowd": 1}, {"id": 6}]})
    array([4])
    """
    if isinstance(source, COCO):
        data: Any = source.dataset
    elif isinstance(source, Mapping):
        data = source
    else:
        with opened(source) as (file, _):
            text = file.read()
        if b'"ignore"' not in text and b"\\u" not in text:  # nothing to read; an escape may spell the word
            return np.zeros(0, np.int64)
        data = load_tree(os.fspath(source), text)
    found = []
    for i, a in enumerate(data.get("annotations", []) if isinstance(data, Mapping) else []):
        value = a.get("ignore", 0)
        if value not in (0, 1):
            raise FormatError(f"COCO: annotations[{i}].ignore: expected 0 or 1, got {json.dumps(value)[:40]}")
        if value and not a.get("iscrowd", 0):
            found.append(a["id"])
    return np.array(found, np.int64)
