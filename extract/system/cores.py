"""The cores this process may use, and the defaults that follow from that."""

from __future__ import annotations

MAX_DECODE_THREADS = 16  # Python's own lock is shared by all of them
MAX_FFMPEG_THREADS = 8  # each holds a frame; measured with two


def usable_cores() -> int:
    """How many cores this process may use; a batch system or a container may grant fewer than the machine has."""
    import joblib  # respects CPU affinity and container limits

    return joblib.cpu_count()


def ffmpeg_threads(videos: int, *, is_shared: bool) -> int:
    """How many threads FFmpeg gets per video: one, unless there are fewer videos than cores.

    Args:
        videos: How many there are.
        is_shared: Whether a backbone uses the same cores; it then gets half of them.
    """
    return max(1, min(MAX_FFMPEG_THREADS, usable_cores() // (2 * videos if is_shared else videos)))


def default_decode_threads() -> int:
    """One per core: if the backbone shares the cores they only wait, and if not they are all needed."""
    return min(MAX_DECODE_THREADS, usable_cores())
