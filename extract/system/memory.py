"""The most memory that a piece of work took, where the system tells: on Linux."""

from __future__ import annotations

from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Forget the peak so far, where the system can."""
    try:
        CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: `peak_mb` is then of the whole process, or None
        return


def peak_mb() -> float | None:
    """The most resident memory of this process since `reset_peak`, in 10^6 bytes; None where that is unknown."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)
