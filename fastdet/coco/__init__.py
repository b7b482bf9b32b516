"""COCO's data sets and evaluation with the names of pycocotools, for boxes, masks and keypoints.

Scripts written for pycocotools run on `init_as_pycocotools`, or with ``from fastdet.coco import COCO, COCOeval``. Every
cell of ``eval["precision"]``, ``eval["recall"]`` and ``eval["scores"]`` is equal to pycocotools'. What differs, on
purpose:

- An annotation whose id is 0 is matched like any other (pycocotools takes its detection for a false one), and two
  annotations with the same id stay two.
- ``summarize`` honours ``params.maxDets``: the first line's 100 is its last, however many there are.
- Empty results are scored; ``iscrowd`` may be absent (0), and ``area`` (width * height).
- NaN, infinity and negative sides are errors that name record and field, and so are ids that are no integers.
- A script's own ``computeIoU``, ``evaluateImg``, ``_prepare``, ``getAnnIds``, ``loadAnns`` or ``createIndex`` is
  called, and changes of ``anns`` and ``imgToAnns`` are used, as in pycocotools. A changed list in ``dataset`` without
  ``createIndex`` raises, and so do ``params.imgIds`` and ``catIds`` of which the data set has none.
- ``ignore`` of an annotation is left out, as in pycocotools: `ignored_annotations` lists them.
- Nothing is printed but the lines of ``summarize``.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; github.com/cocodataset/cocoapi.
"""

from fastdet._files.errors import FormatError
from fastdet.coco.dataset import COCO, ignored_annotations
from fastdet.coco.evaluation import COCOeval, Params
from fastdet.coco.stand_in import init_as_pycocotools

__all__ = ["COCO", "COCOeval", "FormatError", "Params", "ignored_annotations", "init_as_pycocotools"]
