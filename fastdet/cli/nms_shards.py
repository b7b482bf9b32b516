"""``fastdet nms --engine ray``: each shard in, a shard of its name out. No process holds more than one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastdet._files import detections, parquet_rows
from fastdet._files.detections import Advance
from fastdet._files.errors import FormatError
from fastdet.cli.nms_work import BLOCK, kernel_of, suppress
from fastdet.distributed.cluster import in_order


class Job(NamedTuple):
    """What every shard is done with."""

    arguments: dict[str, Any]
    score_threshold: float | None
    max_output: int | None
    agnostic: bool
    backend: str | None
    folder: str  # of the output


class Done(NamedTuple):
    """What became of a shard."""

    path: str
    images: list[int | str]  # the ids
    candidates: int
    kept: int
    ignored: list[str]


def suppress_shard(job: Job, path: str) -> Done:
    """Suppress one shard, and write it into the folder. Done again, it gives the same. FormatError, OSError."""
    source, target = Path(path), Path(job.folder) / output_name(path)
    run = kernel_of(job.arguments, job.score_threshold, job.backend)
    is_parquet = path.endswith(".parquet")
    table = parquet_rows.read_table(source) if is_parquet else detections.read(source)
    try:
        block = 1 if job.backend == "reference" else BLOCK
        kept = suppress(table, run, job.max_output, job.agnostic, block, lambda n: None)
        ignored: tuple[str, ...] = ()
        if is_parquet:
            parquet_rows.copy_rows(source, kept, target)
        else:
            ignored = detections.write(table, kept, target)
        return Done(path, list(table.images), len(table.scores), len(kept.rows), list(ignored))
    finally:
        table.close()


def output_name(path: str) -> str:
    """The name of a shard's output: its own, unpacked."""
    return Path(path).name.removesuffix(".gz")


def suppress_shards(ray: Any, paths: list[str], job: Job, output: Path, advance: Advance) -> list[Done]:
    """Suppress all shards. The folder ``output`` appears whole or not at all. FormatError, OSError.

    An image must be in one shard: detections of two shards do not meet.
    """
    shard_of: dict[int | str, str] = {}
    done: list[Done] = []
    with _new_folder(output) as folder, contextlib.closing(_results(ray, paths, job, folder)) as results:
        for each in results:
            for image in each.images:
                if image in shard_of:
                    got = f"{image!r} as in {shard_of[image]}"
                    raise FormatError(f"{each.path}: expected the detections of an image in one shard, got {got}")
                shard_of[image] = each.path
            done.append(each)
            advance(1)
        names = {output_name(path) for path in paths}
        for left in [child for child in folder.iterdir() if child.name not in names]:
            left.unlink()  # of a worker that died while it wrote
    return done


def _results(ray: Any, paths: list[str], job: Job, folder: Path) -> Generator[Done, None, None]:
    yield from in_order(ray, suppress_shard, job._replace(folder=str(folder)), paths)


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A folder beside ``output``, which takes its place at the end; removed where an error comes."""
    folder = output.with_name(f".{output.name}.{os.getpid()}.part")
    folder.mkdir()
    try:
        yield folder
        if output.is_dir():
            output.rmdir()  # an empty one
        folder.rename(output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
