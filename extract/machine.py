"""What this process may use of the machine, and the defaults that follow from it."""

from __future__ import annotations

import os

MAX_DECODE_THREADS = 16  # Python's own lock is shared by all of them


def usable_cores() -> int:
    """How many cores this process may run on; a batch system may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_decode_threads() -> int:
    """One per core: where the backbone shares the cores they only wait, and where it does not they are all needed."""
    return min(MAX_DECODE_THREADS, usable_cores())
