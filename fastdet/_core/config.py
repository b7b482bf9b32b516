"""What this build of fastdet has and uses: version, backends, instruction set, threads."""

from __future__ import annotations

import platform
from typing import Any

from fastdet._core import backends, check
from fastdet._version import __version__

integrations: dict[str, str] = {}  # framework -> what fastdet replaced in it; fastdet.integrations keeps it


def set_num_threads(n: int) -> None:
    """Set the maximum number of threads of compiled kernels in this process. Results do not depend on it.

    Parameters
    ----------
    n : int in [1, 1024]

    Raises
    ------
    TypeError   n is not an integer
    ValueError  range

    Examples
    --------
    >>> threads = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(threads)
    """
    value = check.count("set_num_threads", "n", n)
    if not 1 <= value <= backends.MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be in [1, {backends.MAX_THREADS}], got {check.describe(n)}")
    if backends.native is not None:
        backends.native.set_num_threads(value)


def get_num_threads() -> int:
    """The maximum number of threads of compiled kernels.

    The default is FASTDET_NUM_THREADS, or else the number of CPUs that this process may use (affinity, cgroup quota).
    It is 1 in a process that was forked from one that had used threads, such as a data loader's worker.
    """
    return 1 if backends.native is None else int(backends.native.get_num_threads())


def config() -> dict[str, Any]:
    """What this build has and uses: version, backends (or why one is missing), instruction sets, threads, integrations.

    Examples
    --------
    >>> config()["backends"]["reference"]
    'available'
    """
    native = backends.native
    states = {**backends.available(), "cuda": backends.cuda_available()}
    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backends": {name: reason or "available" for name, reason in states.items()},
        "isa": None if native is None else native.isa(),
        "isa_available": [] if native is None else list(native.isa_available()),
        "threads": get_num_threads(),
        "integrations": dict(integrations),
    }


def show_config() -> None:
    """Print `config`, one line for each entry."""
    values = config()
    print(f"fastdet {values['version']} (Python {values['python']}, {values['machine']})")
    for name, state in values["backends"].items():
        print(f"  backend {name:<10} {state}")
    usable = ", ".join(values["isa_available"])
    print(
        f"  instruction set    {values['isa'] or 'none'}" + (f" (of {usable}; FASTDET_ISA chooses)" if usable else "")
    )
    print(f"  threads            {values['threads']} (FASTDET_NUM_THREADS or fastdet.set_num_threads)")
    for text in values["integrations"].values():
        print(f"  inside             {text}")
