"""The peak memory of a piece of work and the memory that is free, if the system reports them (Linux)."""

from __future__ import annotations

from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def reset_peak() -> None:
    """Reset the peak, if the system can."""
    try:
        CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: `peak_mb` then covers the whole process, or is None
        return


def peak_mb() -> float | None:
    """Peak resident memory of this process since `reset_peak`, in 10^6 bytes; None if unknown."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)


def available_bytes() -> int | None:
    """Memory that this process can still use, limited by the machine or its container; None if unknown."""
    rooms = []
    try:
        lines = MEMINFO.read_text().splitlines()
        rooms += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except OSError:
        pass
    try:
        limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        rooms.append(int(limit) - int(used))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return min(rooms, default=None)
