"""Free memory of this process, on any system, and in containers."""

import os
from pathlib import Path

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "total_cache",
    ),
)
"""Limit, usage, and the name of its part that can be freed, of containers (cgroups 2 and 1)."""


def free_memory() -> float:
    """Memory in bytes that this process can still use; infinite where the system does not tell.

    It is the least of what is available on the machine, in the container, and within the limit of
    the process (ulimit -v).
    """
    free = [_table("/proc/meminfo").get("MemAvailable", float("inf")) * 1024]
    for limit, usage, cache in _CGROUPS:
        statistics = _table(str(Path(limit).with_name("memory.stat")))
        free.append(_number(limit) - _number(usage) + statistics.get(cache, 0))
    free.append(_process_limit() - _table("/proc/self/status").get("VmSize", 0) * 1024)
    return max(0.0, min(one for one in free if one == one))  # NaN where there is no container


def gibibytes(number: float) -> str:
    """A number of bytes in GiB, with two digits."""
    return f"{number / 2**30:.2g} GiB" if number < 100 * 2**30 else f"{number / 2**30:,.0f} GiB"


def _process_limit() -> float:
    if os.name != "posix":
        return float("inf")
    import resource  # does not exist on Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit


def _number(path: str) -> float:
    """The number in a file; infinite if there is none."""
    try:
        return float(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no limit
        return float("inf")


def _table(path: str) -> dict[str, float]:
    """The numbers in a file with lines such as `MemFree:  123 kB`, by name."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {
        one[0].rstrip(":"): float(one[1]) for one in words if len(one) > 1 and one[1].isdecimal()
    }
