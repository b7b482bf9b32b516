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
from fastdet._files.coco_objects import Content
from fastdet._files.errors import FormatError

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


def outcome(read: Any, document: bytes, kind: str, string_ids: bool, spans: bool) -> tuple[Any, str]:
    """The columns, or None and the error."""
    try:
        return flat(read("x.json", io.BytesIO(document), kind, string_ids, spans)), ""
    except FormatError as error:
        return None, str(error)


def flat(content: Content) -> list[Any]:
    """All of a content, as values that can be compared; numbers bit for bit."""

    def plain(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return [str(x.dtype), x.shape, x.tobytes()]
        if isinstance(x, tuple | list):
            return [plain(y) for y in x]
        return x

    return list(map(plain, content))


def by_cpp(where: str, file: Any, kind: str, string_ids: bool, spans: bool) -> Content:
    return coco.parse(where, file, 0, kind, string_ids=string_ids, spans=spans)


def by_python(where: str, file: Any, kind: str, string_ids: bool, spans: bool) -> Content:
    return coco_text.parse(where, file, kind, string_ids=string_ids, spans=spans)


def check(document: bytes, kinds: Any = None) -> int:
    """Both readers on one document, in every way it may be read. Returns how many ways were taken."""
    taken = 0
    for kind, string_ids, spans in kinds or (
        ("results", False, False), ("results", True, True), ("data set", False, False), ("names", False, False)
    ):  # fmt: skip
        a, b = (outcome(read, document, kind, string_ids, spans) for read in (by_cpp, by_python))
        assert "\n" not in a[1] + b[1]
        assert (a[0] is None) == (b[0] is None), (document[:300], kind, a[1], b[1])
        assert a[0] == b[0], (document[:300], kind)
        taken += a[0] is not None
    return taken


def result(**fields: bytes) -> bytes:
    known = {"image_id": b"7", "category_id": b"1", "bbox": b"[1,2,3,4]", "score": b"0.5"}
    return b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in {**known, **fields}.items()) + b"}"


def true_box(**fields: bytes) -> bytes:
    return result(**{"id": b"1", "area": b"12", "iscrowd": b"0", **fields})


def data_set(box: bytes, image: bytes = b'{"id":7}', category: bytes = b'{"id":1,"name":"a"}') -> bytes:
    return b'{"images":[%s],"annotations":[%s],"categories":[%s]}' % (image, box, category)


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
        by_cpp("x", io.BytesIO(b"[" + result(other=b'"%s"' % (b"x" * 2000)) + b"]"), "results", True, True)


PIECES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"1", b"-", b"1e5", b'"id"', b'"score":', b" ",
    b"\0", b"\xff", b"\xc3\xa9", b"\\u0041", b"\\ud800", b"1.0", b"9223372036854775807", RECORD.encode(),
    b'"bbox":[1,2,3,4]',
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


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 4))
def test_many_mutations(seed: int) -> None:
    run_mutations(20_000, seed)
