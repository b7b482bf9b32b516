"""Names that strangers choose, of one hash: what a reader compares grows with their number, and not with its square."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastdet._core import backends
from fastdet._files import coco

MULTIPLIER = np.uint64(0xC6A4A7935BD1E995)  # of MurmurHash64A, which is std::hash of strings in GNU's library
SEED = np.uint64(0xC70F6907)
LETTERS = np.array([c for c in range(32, 127) if chr(c) not in '"\\'], np.uint8)


def mixed(x: np.ndarray) -> np.ndarray:
    return x ^ (x >> np.uint64(47))  # its own inverse


def word_of(block: np.ndarray) -> np.ndarray:
    """What the hash takes in of eight bytes."""
    return mixed(block * MULTIPLIER) * MULTIPLIER


def block_of(word: np.ndarray) -> np.ndarray:
    """The eight bytes of a word."""
    back = np.array([pow(int(MULTIPLIER), -1, 2**64)], np.uint64)
    return mixed(word * back) * back


def one_hash(bits: int) -> list[str]:
    """2^bits names of 16 * bits letters: 16 of two choices, after which the hash is the same, bits times."""
    rng = np.random.default_rng(0)
    is_letter = np.isin(np.arange(256), LETTERS)
    names, state = [b""], np.array([SEED ^ np.uint64(16 * bits * int(MULTIPLIER) % 2**64)])
    while len(names) < 2**bits:
        first, other = rng.choice(LETTERS, (2, 8)).view(np.uint64)
        after, other_after = ((state ^ word_of(x)) * MULTIPLIER for x in (first, other))
        second = rng.choice(LETTERS, (50_000, 8)).view(np.uint64)[:, 0]
        matching = block_of(word_of(second) ^ after ^ other_after)
        both = is_letter[matching.view(np.uint8).reshape(-1, 8)].all(axis=1)
        if not both.any():
            continue
        at = both.argmax()
        state = (after ^ word_of(second[at : at + 1])) * MULTIPLIER
        choices = (first.tobytes() + second[at].tobytes(), other.tobytes() + matching[at].tobytes())
        names = [name + choice for name in names for choice in choices]
    return [name.decode() for name in names]


@pytest.mark.parametrize("field", ["image_id", "file_name"])
def test_names_of_one_hash(cpp: str, tmp_path: Path, field: str) -> None:
    names = one_hash(11)
    assert len(set(names)) == 2048
    record = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}
    file = tmp_path / "results.json"
    file.write_text(json.dumps([{**record, field: name} for name in names]))
    before = backends.native.pairs_counted()
    content = coco.coco_content(file, "results", string_ids=True)
    assert backends.native.pairs_counted() - before <= 2 * len(names)
    assert list(content.image_names if field == "image_id" else content.file_names) == names
