"""The counts of `SegmentationMetrics` as bytes, and their sum over the processes of torch.distributed.

The bytes are: magic, version, length of the parameters; the parameters (JSON in UTF-8); the counts (int64,
little-endian); the SHA-256 of all of these.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array

_MAGIC, _VERSION = b"fastdet segments", 1
_HEADER = struct.Struct("<16sII")
_DIGEST = hashlib.sha256().digest_size


def pack(about: Mapping[str, Any], arrays: Iterable[Array]) -> bytes:
    """Parameters and arrays of counts as bytes."""
    words = json.dumps(about).encode()
    whole = b"".join([_HEADER.pack(_MAGIC, _VERSION, len(words)), words, *(x.astype("<i8").tobytes() for x in arrays)])
    return whole + hashlib.sha256(whole).digest()


def unpack(op: str, data: Any) -> tuple[dict[str, Any], Array]:
    """The parameters and the counts (in one row) that `pack` has packed; TypeError or ValueError for other bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{op}: data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if len(data) < _HEADER.size + _DIGEST or not data.startswith(_MAGIC):
        raise ValueError(f"{op}: data must be the bytes of a SegmentationMetrics, got {len(data)} other ones")
    _, version, length = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"{op}: data must be of version {_VERSION}, got {version}: of another fastdet, or damaged")
    if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise ValueError(f"{op}: data must be whole, got {len(data)} bytes with a wrong SHA-256: damaged or cut off")
    body = data[_HEADER.size : -_DIGEST]
    try:
        about = json.loads(body[:length])
        counts = np.frombuffer(body[length:], "<i8").astype(np.int64)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{op}: data must be parameters and counts, got others: {error}") from None
    if not isinstance(about, dict) or counts.min(initial=0) < 0 or counts.sum(dtype=np.float64) >= 2**62:
        raise ValueError(f"{op}: data must be parameters and counts, got others")
    return about, counts


def gather(
    op: str, parameters: Mapping[str, Any], matrix: Array, records: Array, images: int, synced: bool, group: Any
) -> tuple[Array, list[Array], int]:
    """Sum of the matrices, all records in the order of the ranks, and number of images, over all processes of a group.

    All processes first exchange what could raise, so that all raise the same error and none waits for another.
    """
    torch: Any = sys.modules.get("torch")  # a caller who has initialised it has imported it
    distributed = None if torch is None else torch.distributed
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        raise RuntimeError(f"{op}: torch.distributed must be initialised first (init_process_group), it is not")
    if distributed.get_rank(group) < 0:
        raise RuntimeError(f"{op}: this process must be in the group, it is not")
    ranks: list[Any] = [None] * distributed.get_world_size(group)
    mine = {"parameters": dict(parameters), "images": images, "records": len(records), "synced": synced}
    distributed.all_gather_object(ranks, mine, group=group)
    for name, first in ranks[0]["parameters"].items():
        for rank, other in enumerate(ranks):
            value = other["parameters"][name]
            if value != first:
                got = f"{check.describe(first)} on rank 0 and {check.describe(value)} on rank {rank}"
                raise ValueError(f"{op}: all ranks must have the same {name}, got {got}")
    for rank, other in enumerate(ranks):
        if other["synced"]:
            raise RuntimeError(f"{op}: rank {rank} is the sum of all ranks already; reset it before it counts anew")
    cuda = "nccl" in distributed.get_backend(group)
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    total = torch.from_numpy(matrix.copy()).to(device)
    distributed.all_reduce(total, group=group)
    every: list[Array] = []
    max_records = max(other["records"] for other in ranks)
    if max_records:  # every rank sends as many rows as the longest list has
        padded = torch.zeros((max_records, records.shape[1]), dtype=torch.int64)
        padded[: len(records)] = torch.from_numpy(records)
        parts = [torch.empty_like(padded, device=device) for _ in ranks]
        distributed.all_gather(parts, padded.to(device), group=group)
        every = [part[: other["records"]].cpu().numpy() for part, other in zip(parts, ranks, strict=True)]
    return total.cpu().numpy(), every, sum(other["images"] for other in ranks)
