"""Threads, processes and interpreters: one result and no hang, in every environment."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from optional import need
from pool_work import same_keep, work
from samples import sample

import fastdet
from fastdet import nms

PATIENCE = 60  # seconds until a child counts as hung
# Python 3.12 and later warn of fork in a process with threads; these tests show that it works here.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_number_of_threads_changes_nothing(threads: Callable[[int], None], count: int) -> None:
    want = work()
    threads(count)
    assert fastdet.get_num_threads() == count
    for _ in range(5):
        assert work() == want


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_groups_side_by_side(threads: Callable[[int], None], count: int) -> None:
    """With so many boxes, groups are divided among threads; the result is that of each group alone."""
    data, key = sample("clustered", 20_000), np.arange(20_000) % 37
    hard, soft = [], []
    for k in range(37):
        mine = np.flatnonzero(key == k)
        hard.append(mine[nms.nms(data.boxes[mine], data.scores[mine], 0.5, backend="cpp")])
        kept, new = nms.soft_nms(data.boxes[mine], data.scores[mine], min_score=0.1, backend="cpp")
        soft += zip(-new, mine[kept], strict=True)
    want = np.sort(np.concatenate(hard))
    threads(count)
    got = nms.batched_nms(data.boxes, data.scores, key, 0.5, backend="cpp")
    assert got.tolist() == want[np.argsort(-data.scores[want], kind="stable")].tolist()
    kept, new = nms.batched_soft_nms(data.boxes, data.scores, key, min_score=0.1, backend="cpp")
    assert list(zip(-new, kept, strict=True)) == sorted(soft)


def test_many_python_threads(threads: Callable[[int], None]) -> None:
    """Kernels release the GIL: sixteen callers, one pool, one result."""
    threads(2)
    want = work()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: work(), range(48))) == {want}


def test_numba_in_many_threads() -> None:
    data = sample("clustered", 2000)
    want = nms.nms(data.boxes, data.scores, 0.5, backend="reference").tolist()
    with ThreadPoolExecutor(8) as pool:
        for keep in pool.map(lambda _: nms.nms(data.boxes, data.scores, 0.5, backend="numba").tolist(), range(16)):
            assert keep == want


def test_the_number_changes_while_kernels_run(threads: Callable[[int], None]) -> None:
    want, stop = work(), threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            n = n % 6 + 1
            threads(n)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: work(), range(24))) == {want}
    finally:
        stop.set()
        changer.join()


def test_the_instruction_set_changes_while_kernels_run(cpp: str) -> None:
    from fastdet import _cpp

    want, stop = work(), threading.Event()

    def change() -> None:
        while not stop.is_set():
            for isa in _cpp.isa_available():
                _cpp.set_isa(isa)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        assert {work() for _ in range(12)} == {want}
    finally:
        stop.set()
        changer.join()


# Fork and spawn.


@posix
@forks
@pytest.mark.parametrize("depth", [1, 2])
def test_fork(threads: Callable[[int], None], depth: int) -> None:
    """After the pool has run, a child and its child compute the same with one thread, and exit."""
    threads(2)
    want = work()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)  # a hung child dies, and the parent fails instead of waiting
        good = False
        try:
            single = fastdet.get_num_threads() == 1
            good = work() == want and single
            if depth == 2:
                grandchild = os.fork()
                if grandchild == 0:
                    signal.alarm(PATIENCE)
                    os._exit(0 if work() == want else 1)
                good = good and os.waitpid(grandchild, 0)[1] == 0
            fastdet.set_num_threads(2)  # a child that asks for threads gets a pool of its own
            good = good and work() == want
        finally:
            os.write(write, b"1" if good else b"0")
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    assert answer == b"1"
    assert work() == want


@posix
@forks
def test_fork_while_kernels_run(threads: Callable[[int], None]) -> None:
    """Locks that other threads hold at the moment of the fork do not stop the child."""
    threads(2)
    want, stop = work(), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            work()

    others = [threading.Thread(target=busy) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        for _ in range(8):
            child = os.fork()
            if child == 0:
                signal.alarm(PATIENCE)
                os._exit(0 if work() == want else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in others:
            thread.join()


@forks
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(threads: Callable[[int], None], method: str) -> None:
    threads(2)
    want = same_keep()
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = [pool.apply_async(same_keep) for _ in range(4)]
        assert all(result.get(PATIENCE) == want for result in results)


@forks
def test_data_loader_workers(threads: Callable[[int], None]) -> None:
    torch_data = need("torch.utils.data")

    class Images(torch_data.Dataset):  # type: ignore[name-defined,misc]
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            data = sample("clustered", 3000, seed=index)
            return len(nms.nms(data.boxes, data.scores, 0.5)), fastdet.get_num_threads()

    threads(2)
    work()
    images = Images()
    got = list(torch_data.DataLoader(images, batch_size=None, num_workers=2, timeout=PATIENCE))
    assert [int(kept) for kept, _ in got] == [images[i][0] for i in range(6)]
    if multiprocessing.get_start_method() == "fork":
        assert {int(used) for _, used in got} == {1}


# The environment.

TELL = "import fastdet; print(fastdet.get_num_threads(), fastdet.config()['isa'])"


@pytest.mark.parametrize("count", [1, 3])
def test_threads_from_the_environment(python: Any, count: int) -> None:
    assert python(TELL, FASTDET_NUM_THREADS=str(count)).stdout.split()[0] == str(count)


def test_default_is_what_the_process_may_use(python: Any) -> None:
    n = int(python(TELL, FASTDET_NUM_THREADS="").stdout.split()[0])
    assert 1 <= n <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        one = min(os.sched_getaffinity(0))
        code = f"import os; os.sched_setaffinity(0, {{{one}}}); {TELL}"
        assert python(code, FASTDET_NUM_THREADS="").stdout.split()[0] == "1"


def test_instruction_set_from_the_environment(cpp: str, python: Any) -> None:
    from fastdet import _cpp

    isa = _cpp.isa()  # the fixture's
    assert python(TELL, FASTDET_ISA=isa).stdout.split()[1] == isa


@pytest.mark.parametrize(("name", "value"), [("FASTDET_ISA", "sse9"), ("FASTDET_NUM_THREADS", "many"),
                                             ("FASTDET_NUM_THREADS", "0"), ("FASTDET_NUM_THREADS", "-3")])  # fmt: skip
def test_an_invalid_environment_is_reported(python: Any, name: str, value: str) -> None:
    """An error or a warning names the variable and its value."""
    done = python(TELL, check=False, **{name: value})
    assert name in done.stderr, done
    assert value in done.stderr


def test_every_instruction_set_of_the_processor_is_built() -> None:
    """A build without one would pass all other tests, only slower."""
    from fastdet import _cpp

    built = _cpp.isa_available()
    assert built[0] == "baseline"
    assert _cpp.isa() in built
    if platform.machine() not in ("x86_64", "AMD64") or sys.platform != "linux":
        return
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    assert ("avx2" in built) == ("avx2" in flags)
    assert ("avx512" in built) == {"avx512f", "avx512dq", "avx512vl", "avx512bw"}.issubset(flags)


DAEMONS = """
import io, json, threading, time
import numpy as np
from fastdet import boxes, detection, losses, nms
from fastdet._files.coco import parse

rng = np.random.default_rng(0)
b, s = rng.random((3000, 4)) * 100, rng.random(3000)
b[:, 2:] += b[:, :2]
text = json.dumps([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}] * 20000).encode()

class Slow(io.RawIOBase):  # asks for the lock of the interpreter in the middle of a kernel
    def __init__(self):
        self.file = io.BytesIO(text)
    def readinto(self, to):
        return self.file.readinto(memoryview(to)[:200])

def torch_backward():
    import torch
    x, t = torch.rand(2, 19, 64, 64, requires_grad=True), torch.randint(0, 19, (2, 64, 64))
    return lambda: losses.cross_entropy(x, t).backward()

work = {
    "torch": torch_backward,
    "numba": lambda: lambda: boxes.box_iou(b, b, backend="numba"),
    "match": lambda: lambda: detection.match_detections(b, s, b, max_detections=None),
    "box_iou": lambda: lambda: boxes.box_iou(b, b),
    "nms": lambda: lambda: nms.nms(b, s, 0.9),
    "read": lambda: lambda: parse("x.json", Slow(), len(text), "results"),
}[KIND]()
work()

def forever():
    while True:
        work()

for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.3)
print("done")
"""


@pytest.mark.parametrize("kind", ["box_iou", "nms", "read", "match", "numba", "torch"])
def test_daemon_threads_in_a_kernel_when_the_interpreter_ends(kind: str, python: Any) -> None:
    """They wait until the process is gone; it does not abort, and does not wait for them.

    PyTorch frees its own state while such a thread may still be in it: rarely that is a segmentation fault of its own,
    with or without fastdet, which is no abort.
    """
    if kind in ("numba", "torch"):
        need(kind)
    for _ in range(4):
        done = python(f"KIND = {kind!r}\n{DAEMONS}", check=False)
        assert done.stdout == "done\n", done.stderr
        assert done.returncode == 0 or (kind == "torch" and done.returncode == -signal.SIGSEGV), done


# Interpreters.


@pytest.mark.filterwarnings("ignore:NumPy was imported from a Python sub-interpreter:UserWarning")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="of Python 3.11 and earlier")
@pytest.mark.parametrize("main_first", [True, False])
def test_sub_interpreter_of_older_pythons(python: Any, main_first: bool) -> None:
    """ImportError with the reason, every time, and at once: it does not wait for ever."""
    code = f"""
import _xxsubinterpreters as interpreters
if {main_first}:
    import fastdet
inner = '''
for name in ("fastdet", "fastdet.nms", "fastdet._cpp", "fastdet.coco"):
    try:
        __import__(name)
    except ImportError as error:
        assert str(error) == (
            "fastdet: must be imported in the main interpreter before Python 3.12, got a sub-interpreter; "
            "use threads or processes"), error
    else:
        raise AssertionError(name)
'''
one = interpreters.create()
interpreters.run_string(one, inner)
interpreters.destroy(one)
import fastdet, numpy
print(fastdet.nms.nms(numpy.zeros((1, 4)), numpy.zeros(1), 0.5).tolist())
"""
    assert python(code).stdout.strip() == "[0]"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters with a GIL of their own came with Python 3.12")
def test_sub_interpreter(python: Any) -> None:
    """fastdet loads and works there, or raises ImportError with the reason (NumPy may refuse); it never crashes."""
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import fastdet
inner = '''
try:
    import fastdet, numpy
    keep = fastdet.nms.nms(numpy.zeros((1, 4)), numpy.zeros(1), 0.5)
    assert keep.tolist() == [0]
except ImportError as error:
    assert "interpreter" in str(error) or "more than once" in str(error), error
'''
one = interpreters.create()
failed = interpreters.run_string(one, inner)
assert failed is None, failed
interpreters.destroy(one)
print("done")
"""
    assert python(code).stdout.strip() == "done"


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    fastdet.show_config()
    text = capsys.readouterr().out
    for word in (fastdet.__version__, "backend cpp", "backend numba", "instruction set", "threads"):
        assert word in text
    assert fastdet.config()["backends"]["reference"] == "available"
