"""The C++ reader of JSON and Python's agree: on odd documents both give the same columns, or both refuse."""

from __future__ import annotations

import io
import itertools
import json
import random
from typing import Any

import numpy as np
import pytest
from table_files import RECORD

from fastdet._core import backends
from fastdet._files import coco, coco_text
from fastdet._files.coco_objects import Content, sizes_of_images
from fastdet._files.errors import FormatError
from fastdet.masks import RLE

pytestmark = pytest.mark.skipif(backends.native is None, reason="the C++ backend is not built")

WORDS = """
0 -0 1 7 -1 01 00 +1 .5 1. 1.0 1.5 -1.5 3e0 1e1 1E+2 10e-1 1e3 2e-1 0.0 -0.0 0e9 1_0 0x10 1e 1e+ - -- 1e5e5 1f 1L 1,2
1e400 -1e400 1.5e400 1e-400 1.5e-400 2e-324 5e-324 2.5e-324 1.7976931348623157e308 1.7976931348623159e308
999999999999999999 1000000000000000000 9223372036854775807 9223372036854775808 18446744073709551616
-9223372036854775808 -9223372036854775809 9007199254740993 9e15 8.9e15 1e18 1e19
0.1000000000000000055511151231257827 123456789012345678901234567890 \u0661
NaN Infinity -Infinity nan inf null true false "1" "7" [] {} [1] '1'
"""
NUMBERS = [
    *WORDS.split(),
    *("1" * 499, "1" * 510, "1" * 511, "1" * 520, "0." + "1" * 508, "0." + "1" * 520, "1e" + "0" * 508 + "1"),
]
STRINGS = [
    rb'"a"', rb'""', rb'"\u00e9"', '"é"'.encode(), '"日本"'.encode(), '"𝄞"'.encode(), rb'"\ud834\udd1e"', rb'"\ud834"',
    rb'"\udd1e"', rb'"\ud834x"', rb'"\ud834\n\udd1e"', rb'"\\ud834"', rb'"\u12"', rb'"\x41"', b'"\xff"', b'"\xc3"',
    b'"\xc0\xaf"', b'"\xe0\x80\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"', b'"a\x00b"',
    b'"a\nb"', b'"a\tb"', b'"\x7f"', rb'"\u0000"', rb'"\/"', b'"a', b"a", b'"\xc3\xa9\xff"', b'"\xf0\x9d\x84"',
]  # fmt: skip
AROUND = [
    b"%s", b"\xef\xbb\xbf%s", b"\xef\xbb\xbf\xef\xbb\xbf%s", b" \n\t\r%s \n", b"%s]", b"%s x", b"%s\0", b"%s\x0b",
    b"\x0c%s", b"\xc2\xa0%s", b"%s,", b"[%s]", b"%s%s", b"", b"\0",
]  # fmt: skip


def outcome(
    read: Any, document: bytes, kind: str, string_ids: bool, spans: bool, iou_type: str = "bbox"
) -> tuple[Any, str]:
    """The columns, or None and the error."""
    try:
        return flat(read("x.json", io.BytesIO(document), kind, string_ids, spans, iou_type)), ""
    except FormatError as error:
        return None, str(error)


def flat(content: Content) -> list[Any]:
    """All of a content, as values that can be compared; numbers bit for bit."""

    def plain(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return [str(x.dtype), x.shape, x.tobytes()]
        if isinstance(x, tuple | list):
            return [plain(y) for y in x]
        if isinstance(x, RLE):
            return [plain(y) for y in (x.sizes, x.counts, x.offsets)]
        return x

    return list(map(plain, content))


SIZES = np.array([7, 8]), np.array([[5, 4], [0, 0]])  # of the images of results


def by_cpp(where: str, file: Any, kind: str, string_ids: bool, spans: bool, iou_type: str) -> Content:
    options: Any = {"string_ids": string_ids, "spans": spans, "iou_type": iou_type, "sizes": SIZES}
    return coco.parse(where, file, 0, kind, **options)


def by_python(where: str, file: Any, kind: str, string_ids: bool, spans: bool, iou_type: str) -> Content:
    options: Any = {"string_ids": string_ids, "spans": spans, "iou_type": iou_type, "sizes": sizes_of_images(SIZES)}
    return coco_text.parse(where, file, kind, **options)


def check(document: bytes, kinds: Any = None) -> int:
    """Both readers on one document, in every way it may be read. Returns how many ways were taken."""
    taken = 0
    for kind, string_ids, spans, *iou_type in kinds or (
        ("results", False, False), ("results", True, True), ("data set", False, False), ("names", False, False)
    ):  # fmt: skip
        a, b = (outcome(read, document, kind, string_ids, spans, *iou_type) for read in (by_cpp, by_python))
        assert "\n" not in a[1] + b[1]
        assert (a[0] is None) == (b[0] is None), (document[:400], kind, iou_type, a[1], b[1])
        assert a[0] == b[0], (document[:400], kind, iou_type)
        taken += a[0] is not None
    return taken


def result(**fields: bytes) -> bytes:
    known = {"image_id": b"7", "category_id": b"1", "bbox": b"[1,2,3,4]", "score": b"0.5"}
    return b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in {**known, **fields}.items()) + b"}"


def true_box(**fields: bytes) -> bytes:
    return result(**{"id": b"1", "area": b"12", "iscrowd": b"0", **fields})


def data_set(box: bytes, image: bytes = b'{"id":7}', category: bytes = b'{"id":1,"name":"a"}') -> bytes:
    return b'{"images":[%s],"annotations":[%s],"categories":[%s]}' % (image, box, category)


SHAPES: Any = [
    *(("results", False, False, iou_type) for iou_type in ("bbox", "segm", "keypoints", "auto", "any")),
    ("results", True, True, "auto"),
    *(("data set", False, False, iou_type) for iou_type in ("bbox", "segm", "keypoints", "any")),
]
MASK = b'{"size":[4,5],"counts":[1,2,17]}'
POLYGON = b"[[0,0,3,0,3.5,2,1,4]]"


def check_shapes(quick: bool = False, **fields: bytes) -> int:
    """Records with masks and keypoints, in every way they may be read; with a box and without one. ``quick``: fewer."""
    shapes = {"segmentation": MASK, "keypoints": b"[1,2,2,3,4.5,0]", **fields}
    taken = 0
    for record in (true_box(**shapes),) if quick else (result(**shapes), true_box(**shapes)):
        without = record.replace(b'"bbox":[1,2,3,4],', b"")
        image = b'{"id":7,"width":5,"height":4}'
        if quick:
            taken += check(b"[%s]" % without, SHAPES[1:5]) + check(data_set(without, image), SHAPES[7:9])
            continue
        taken += sum(
            check(document, SHAPES)
            for one in (record, without)
            for document in (b"[%s,%s]" % (one, result(**shapes)), data_set(one, image))
        )
    return taken


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_of_shapes(text: str) -> None:
    """Each number in each place of masks and keypoints."""
    x = text.encode()
    for segmentation in (
        b'{"size":[4,%s],"counts":[20]}', b'{"size":[%s,5],"counts":[20]}', b'{"size":[4,5],"counts":[%s,20]}',
        b'{"size":[4,5],"counts":[%s]}', b'{"size":%s,"counts":[20]}', b'{"size":[4,5],"counts":%s}',
        b"[[0,0,3,0,3,%s]]", b"[[%s,0,3,0,3,3],[1,1,1,2,2,2]]", b"[[0,0,3,0,3],%s]", b"%s",
    ):  # fmt: skip
        check_shapes(True, segmentation=segmentation % x)
    for keypoints in (b"[1,2,%s]", b"[%s,2,1,4,4,2]", b"[1,2,2,3,4,%s]", b"[1,2,2,3,4,5,%s]", b"%s"):
        check_shapes(True, keypoints=keypoints % x)
    check_shapes(True, num_keypoints=x)
    for key in ("neg_category_ids", "not_exhaustive_category_ids", "crowdIndex"):
        for value in (x, b"[%s]" % x, b"[3,%s,1]" % x):
            check(data_set(true_box(), b'{"id":7,"%s":%s}' % (key.encode(), value)))


def test_shapes() -> None:
    """Records of several kinds, and keys twice."""
    box = {"bbox": b"[]"}
    for fields in (
        {}, {"segmentation": b"null"}, {"segmentation": b"[]"}, {"keypoints": b"null"}, {"keypoints": b"[]"}, box,
        {"segmentation": POLYGON}, {"segmentation": POLYGON, "image_id": b"8"}, {"segmentation": b"[]", **box},
        {"segmentation": POLYGON, "image_id": b"9"}, {"keypoints": b"[1,2,2]"}, {"num_keypoints": b"0"},
        {"keypoints": b"[1,2,0,3,4,0]"}, {"segmentation": b"[]", "keypoints": b"[]", **box}, {"area": b"5"},
        {"segmentation": b'{"size":[4,5],"counts":"0d0"}'}, {"segmentation": b'{"size":[5,4],"counts":"0d0"}'},
        {"segmentation": b'{"counts":[20],"size":[4,5],"x":[{}]}'}, {"segmentation": b'{"size":[0,5],"counts":[]}'},
    ):  # fmt: skip
        check_shapes(**fields)
        for key in ("segmentation", "keypoints", "num_keypoints", "bbox"):
            check_shapes(**fields, **{"other": b'1,"%s":[]' % key.encode()})
    for twice in (b'"size":[4,5]', b'"counts":[20]', b'"other":1', b'"other":2'):
        check_shapes(segmentation=b'{"size":[4,5],"counts":[20],"other":1,%s}' % twice)
    plain, mask, points = result(), result(segmentation=MASK), result(keypoints=b"[1,2,0.5]")
    for records in itertools.product((plain, mask, points, mask.replace(b'"bbox":[1,2,3,4],', b"")), repeat=3):
        check(b"[" + b",".join(records) + b"]", SHAPES)


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text: str) -> None:
    """Each number in each field."""
    x = text.encode()
    for field in ("image_id", "category_id", "score", "id", "area", "iscrowd", "ignore", "other"):
        check(b"[" + result(**{field: x}) + b"]")
        check(data_set(true_box(**{field: x})))
    for place in range(4):
        check(b"[" + result(bbox=b"[" + b",".join([b"1"] * place + [x] + [b"1"] * (3 - place)) + b"]") + b"]")
    for field in ("id", "width", "height", "name", "supercategory"):
        check(data_set(true_box(), b'{"id":7,"%s":%s}' % (field.encode(), x)) if field != "id" else
              data_set(true_box(), b'{"id":%s}' % x))  # fmt: skip
        check(data_set(true_box(), category=b'{"id":1,"%s":%s}' % (field.encode().replace(b"id", b"name"), x)))


@pytest.mark.parametrize("text", STRINGS)
def test_texts(text: bytes) -> None:
    for field in ("image_id", "file_name", "other", "score"):
        check(b"[" + result(**{field: text}) + b"]")
    check(b"[{%s:1,%s]" % (text, result()[1:]))
    check(b'[{"a":{%s:1},%s]' % (text, result()[1:]))
    check(b'{%s:1,"annotations":[%s]}' % (text, result()))
    check(
        data_set(true_box(), b'{"id":7,"file_name":%s}' % text, b'{"id":1,"name":%s,"supercategory":%s}' % (text, text))
    )
    check(data_set(true_box(), b'{"id":7,"neg_category_ids":%s}' % text, b'{"id":1,"frequency":%s}' % text))
    check_shapes(True, segmentation=b'{"size":[4,5],"counts":%s}' % text)


@pytest.mark.parametrize("around", AROUND)
def test_around(around: bytes) -> None:
    for document in (b"[" + result() + b"]", data_set(true_box()), b"[]", b"{}"):
        check(around.replace(b"%s", document))


def test_keys_twice() -> None:
    """A key that is read must not come twice; another may."""
    fields = ("image_id", "category_id", "bbox", "score", "id", "area", "iscrowd", "ignore", "file_name", "other")
    for field in fields:
        for value in (b"1", b'"x"', b"[1,2,3,4]", b"null"):
            check(b"[" + result()[:-1] + b',"%s":%s,"%s":%s}]' % (field.encode(), value, field.encode(), value))
            check(data_set(true_box()[:-1] + b',"%s":%s}' % (field.encode(), value)))
    for key in ("id", "name", "file_name", "width", "height", "supercategory", "other"):
        both = b'{"id":1,"name":"a","file_name":"b","width":1,"height":1,"supercategory":"s","other":1,"%s":2}'
        check(data_set(true_box(), both % key.encode()))
        check(data_set(true_box(), category=both % key.encode()))
    nested = b'[{"x":{"id":1,"id":2,"score":1,"score":2},' + result()[1:] + b"]"
    assert check(nested) == 2
    for key in ("images", "annotations", "categories", "info"):
        check(data_set(true_box())[:-1] + b',"%s":[]}' % key.encode())


def test_nesting() -> None:
    for depth, (left, right), inside in itertools.product(
        (1, 400, 498, 499, 500, 501, 502, 503, 600), ((b"[", b"]"), (b'{"a":', b"}")), (b"", b"1", b"[]", b"{}")
    ):
        if not inside and left != b"[":
            continue
        value = left * depth + inside + right * depth
        check(b"[" + result(other=value) + b"]", (("results", True, True),))
        check(b'{"info":%s,"annotations":[%s]}' % (value, result()), (("results", False, False),))
        check(data_set(true_box(), b'{"id":7,"other":%s}' % value), (("names", False, False),))
    for depth in (5000, 100_000):
        assert check(b"[" * depth) == check(b"[" + result(other=b"[" * depth)) == 0


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long records, keys and names, and many images."""
    monkeypatch.setenv("FASTDET_LIMITS", "text=1KiB,images=5")
    for n in range(900, 1100, 7):
        check(b"[" + result(other=b'"%s"' % (b"x" * n)) + b"]")
        check(b"[" + result(image_id=b'"%s"' % ("é" * (n // 2)).encode()) + b"]")
        check(b'{"%s":1,"annotations":[%s]}' % (b"k" * n, result()))
        check(data_set(true_box(), b'{"id":7,"file_name":"%s"}' % (b"x" * n)))
    for n in (4, 5, 6, 7):
        check(data_set(true_box(), b",".join(b'{"id":%d}' % i for i in range(n))))
    with pytest.raises(FormatError, match=r"results\[0\].*at most 1,?024.*FASTDET_LIMITS=text=\d+ raises the limit"):
        by_cpp("x", io.BytesIO(b"[" + result(other=b'"%s"' % (b"x" * 2000)) + b"]"), "results", True, True, "bbox")


PIECES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"1", b"-", b"1e5", b'"id"', b'"score":', b" ",
    b"\0", b"\xff", b"\xc3\xa9", b"\\u0041", b"\\ud800", b"1.0", b"9223372036854775807", RECORD.encode(),
    b'"bbox":[1,2,3,4]', b'"segmentation":[]', b'"keypoints":[1,2,2]', b'"size":[4,5]', b'"counts":[20]',
    b'"counts":"d0"',
]  # fmt: skip


def mutated(rng: random.Random, document: bytes) -> bytes:
    """A document with a few pieces inserted, removed, doubled or changed."""
    out = bytearray(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(out) + 1)
        to = min(len(out), at + rng.choice((1, 1, 2, 5, 20)))
        how = rng.randrange(4)
        if how == 0:
            out[at:at] = rng.choice(PIECES)
        elif how == 1:
            del out[at:to]
        elif how == 2:
            out[at:at] = out[at:to]
        else:
            out[at:to] = rng.choice(PIECES)
    return bytes(out)


def run_mutations_of_shapes(count: int, seed: int) -> int:
    rng = random.Random(seed)
    image = b'{"id":7,"width":5,"height":4,"neg_category_ids":[1,2]}'
    polygon = result(segmentation=POLYGON, keypoints=b"[1,2,0.5,3,4,2]")
    text = true_box(segmentation=b'{"size":[4,5],"counts":"142000\\\\O"}', keypoints=b"[1,2,2]", num_keypoints=b"1")
    seeds = [b"[" + polygon + b"," + result(segmentation=MASK) + b"]", data_set(text + b"," + polygon, image)]
    return sum(check(mutated(rng, rng.choice(seeds)), SHAPES) for _ in range(count))


def run_mutations(count: int, seed: int) -> int:
    rng = random.Random(seed)
    seeds = [
        b"[" + result() + b"," + result(image_id=b'"b.jpg"', file_name='"é.jpg"'.encode()) + b"]",
        data_set(true_box(other=b'{"a":[1,2.5e3,"x"]}'), b'{"id":7,"file_name":"a.jpg","width":5,"height":4}'),
        json.dumps({"info": {"a": [1]}, "annotations": json.loads(f"[{RECORD}]")}).encode(),
    ]
    return sum(check(mutated(rng, rng.choice(seeds))) for _ in range(count))


def test_mutations() -> None:
    assert run_mutations(2000, 0) > 100
    assert run_mutations_of_shapes(500, 0) > 100


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 4))
def test_many_mutations(seed: int) -> None:
    run_mutations(20_000, seed)
    run_mutations_of_shapes(10_000, seed)
