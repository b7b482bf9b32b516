"""A file is written whole or not at all, and nowhere but where its user means it to go."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastdet._files import atomic as module
from fastdet._files.atomic import atomic


def write(path: Path | str, content: bytes = b"new") -> None:
    with atomic(path) as file:
        file.write(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def umask(bits: int) -> Iterator[None]:
    old = os.umask(bits)
    try:
        yield
    finally:
        os.umask(old)


def test_atomic_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o640)

    def interrupted() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with atomic(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_atomic_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def test_links_and_folders_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative links, links to folders, a link of a link, ".." behind a link: as the kernel follows them."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").symlink_to("a/b")
    (tmp_path / "a" / "b" / "d").symlink_to("../e")
    monkeypatch.chdir(tmp_path)
    for path, real in (
        ("c/d", "a/e"),
        ("c/../f", "a/f"),
        ("./c//g", "a/b/g"),
        ("h", "h"),
        (f"{tmp_path}/c/i", "a/b/i"),
    ):
        write(path, path.encode())
        assert (tmp_path / real).read_bytes() == path.encode()
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write("x")


@pytest.mark.parametrize("name", ["out", "folder/out"], ids=["file", "folder"])
@pytest.mark.parametrize("bits", [0o777, 0o1777], ids=["open", "sticky"])
def test_a_link_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int, name: str) -> None:
    """A link in a folder that everyone may write, which is not this user's, does not lead to this user's files."""
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    mine.mkdir()
    shared.mkdir()
    shared.chmod(bits)
    (mine / "out").write_text("precious")
    (shared / "out").symlink_to(mine / "out")
    (shared / "folder").symlink_to(mine)
    shared_by = os.stat(shared).st_uid + 1  # as if the folder and the link belonged to others
    real_stat, real_fstat = os.stat, os.fstat
    monkeypatch.setattr(os, "geteuid", lambda: shared_by + 1)
    if bits & stat.S_ISVTX:
        monkeypatch.setattr(os, "fstat", lambda x: _owned(real_fstat(x), shared_by))
    with pytest.raises(PermissionError, match="everyone may write its folder") as caught:
        write(shared / name)
    monkeypatch.setattr(os, "stat", real_stat)
    assert caught.value.filename == str(shared / name)
    assert (mine / "out").read_text() == "precious"
    assert len(list(mine.iterdir())) == 1


def _owned(found: os.stat_result, user: int) -> os.stat_result:
    values = list(found)
    values[stat.ST_UID] = user
    return os.stat_result(values)


def test_own_links_in_a_sticky_folder(tmp_path: Path) -> None:
    """As the kernel does it: a link of the user, or of the folder's owner, in a folder such as /tmp."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "out").symlink_to(tmp_path / "real")
    write(shared / "out")
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="missing rights: only root makes another user's link")
@pytest.mark.parametrize("bits", [0o777, 0o1777])
def test_a_real_link_of_another_user(tmp_path: Path, bits: int) -> None:
    (tmp_path / "precious").write_text("old")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(bits)
    (shared / "out").symlink_to(tmp_path / "precious")
    os.lchown(shared / "out", 65534, 65534)
    with pytest.raises(PermissionError):
        write(shared / "out")
    assert (tmp_path / "precious").read_text() == "old"


def test_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary bits are kept; setuid, setgid and sticky never; a new file has those of the umask."""
    path = tmp_path / "out"
    for old, kept in ((0o6755, 0o755), (0o1644, 0o644), (0o600, 0o600), (0o444, 0o444)):
        path.write_text("old")
        path.chmod(old)
        write(path)
        assert mode(path) == kept
        path.unlink()
    for bits in (0o077, 0o022, 0o000):
        with umask(bits):
            write(path)
        assert mode(path) == 0o666 & ~bits
        path.unlink()
    path.write_text("another user's")
    path.chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with umask(0o027):
        write(path)
    assert mode(path) == 0o640


def test_the_temporary_file_is_never_more_open(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    (tmp_path / "out").chmod(0o600)
    with atomic(tmp_path / "out"):
        (part,) = (p for p in tmp_path.iterdir() if p.name != "out")
        assert mode(part) == 0o600


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to_pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket is short
        server.bind("socket")
        names = {"pipe": "a pipe", "to_pipe": "a pipe", "folder": "a folder", "socket": "a socket", ".": "a folder"}
        for name, kind in [*names.items(), ("/dev/zero", "a device"), ("/dev/full", "a device"), ("/", "a folder")]:
            path = tmp_path / name
            with pytest.raises(OSError, match=f"expected a file, got {kind}") as caught:
                write(path)
            assert caught.value.filename == str(path)
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("n" * 300, OSError),
        ("no/where", FileNotFoundError),
        ("file/out", NotADirectoryError),
        ("a\0b", OSError),
        ("n" * 255, None),
        ("é" * 127, None),
        (os.fsdecode(b"\xff\xfe"), None),
    ],
)
def test_names(tmp_path: Path, name: str, error: type[OSError] | None) -> None:
    (tmp_path / "file").write_text("x")
    if error is None:
        write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"
    else:
        with pytest.raises(error) as caught:
            write(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)


def test_streams(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """/dev/stdout and its like are written to as they are, also through a link; a descriptor that is closed raises."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    for path in ("/dev/stdout", tmp_path / "link", "/dev/fd/1", "/proc/self/fd/1", f"/proc/{os.getpid()}/fd/1"):
        if Path(path).exists():
            print("before", flush=False)
            write(path, b"data\n")
            assert capfd.readouterr() == ("before\ndata\n", "")
    write("/dev/stderr", b"data")
    assert capfd.readouterr() == ("", "data")
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        write("/dev/fd/12345")
    assert caught.value.filename == "/dev/fd/12345"
    inner, outer = os.pipe()
    try:
        write(f"/dev/fd/{outer}", b"through a pipe")
        assert os.read(inner, 100) == b"through a pipe"
    finally:
        os.close(inner)
        os.close(outer)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))

    (tmp_path / "folder").mkdir()
    before = count()
    for name in ("a", "folder", "no/where", "/dev/null", "/dev/fd/12345"):
        with contextlib.suppress(OSError):
            write(tmp_path / name)
    assert count() == before


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the output, wherever it comes from; the old file stays."""
    (tmp_path / "out").write_text("old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "old")]


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # closed by Python
def test_interrupted_at_every_line(tmp_path: Path) -> None:
    """Whatever line an interrupt comes at: the old file or the new one, and no other file."""
    path = tmp_path / "out"
    for k in range(1, 1000):
        path.write_text("old")
        left = [k]

        def stop(frame: Any, event: str, argument: Any, left: list[int] = left) -> Any:
            if frame.f_code.co_filename != module.__file__ or frame.f_code.co_name == "_find":
                return None
            if event == "line":
                left[0] -= 1
                if not left[0]:
                    raise KeyboardInterrupt
            return stop

        sys.settrace(stop)
        try:
            write(path)
        except KeyboardInterrupt:
            pass
        else:
            assert k > 20
            break
        finally:
            sys.settrace(None)
        module.abandon()
        module._ending = False
        module._parts.clear()
        module._lock = threading.RLock()  # the tracer may stop `with` itself, which no signal does
        assert [p.name for p in tmp_path.iterdir()] == ["out"], k
        assert path.read_text() in ("old", "new")
    else:
        raise AssertionError("no call ended")


def test_abandon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write in another thread leaves nothing, and does not go on."""
    monkeypatch.setattr(module, "_ending", False)
    inside, go_on = threading.Event(), threading.Event()
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            with atomic(tmp_path / "out") as file:
                file.write(b"half")
                inside.set()
                go_on.wait(10)
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    module.abandon()
    assert not list(tmp_path.iterdir())
    go_on.set()
    thread.join(10)
    assert isinstance(trouble[0], KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out")
    assert not list(tmp_path.iterdir())
