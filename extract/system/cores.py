"""What this process may use of the machine, and the defaults that follow from it."""

from __future__ import annotations

MAX_DECODE_THREADS = 16  # Python's own lock is shared by all of them
MAX_FFMPEG_THREADS = 8  # each holds a frame; two have been measured


def usable_cores() -> int:
    """How many cores this process may run on; a batch system or a container may grant fewer than the machine has."""
    import joblib  # knows affinities, and the limits of containers

    return joblib.cpu_count()


def ffmpeg_threads(videos: int, *, is_shared: bool) -> int:
    """How many threads FFmpeg gets for each video: one, unless there are fewer videos than cores.

    Args:
        videos: How many there are.
        is_shared: Whether a backbone computes on the same cores; half of them are left to it.
    """
    return max(1, min(MAX_FFMPEG_THREADS, usable_cores() // (2 * videos if is_shared else videos)))


def default_decode_threads() -> int:
    """One per core: where the backbone shares the cores they only wait, and where it does not they are all needed."""
    return min(MAX_DECODE_THREADS, usable_cores())
