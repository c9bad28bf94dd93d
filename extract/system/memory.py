"""The peak memory of a piece of work, if the system reports it (Linux)."""

from __future__ import annotations

from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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
