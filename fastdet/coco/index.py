"""The tables of `COCO`: annotations, images and categories by id, and whether a script has changed them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple


class Tables(NamedTuple):
    """What pycocotools' createIndex makes."""

    anns: dict[Any, Any]
    cats: dict[Any, Any]
    imgs: dict[Any, Any]
    imgToAnns: defaultdict[Any, list[Any]]
    catToImgs: defaultdict[Any, list[Any]]


class Index:
    """The tables of a data set, and copies to compare them with."""

    def __init__(self, data: Any) -> None:
        tables = self.tables = Tables({}, {}, {}, defaultdict(list), defaultdict(list))
        for annotation in data.get("annotations", []):
            tables.imgToAnns[annotation["image_id"]].append(annotation)
            tables.anns[annotation["id"]] = annotation
            if "categories" in data:
                tables.catToImgs[annotation["category_id"]].append(annotation["image_id"])
        for image in data.get("images", []):
            tables.imgs[image["id"]] = image
        for category in data.get("categories", []):
            tables.cats[category["id"]] = category
        self.anns = dict(tables.anns)
        self._of_image = {image: list(listed) for image, listed in tables.imgToAnns.items()}

    def differs(self, anns: Any, of_image: Any) -> bool:
        """Whether ``anns`` or ``imgToAnns`` hold other annotations than those they were made with.

        An image id that was only looked up has an empty list, which is no difference.
        """
        if len(anns) != len(self.anns) or any(anns.get(i) is not a for i, a in self.anns.items()):
            return True
        for image in {*of_image, *self._of_image}:
            listed, made = of_image.get(image, ()), self._of_image.get(image, ())
            if len(listed) != len(made) or any(x is not y for x, y in zip(listed, made, strict=True)):
                return True
        return False
