"""Fixtures of the whole suite: tiny videos, a store of random embeddings, and the real data where it is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from places import SHARED

settings.register_profile("no database", database=None)  # the checkout may be read-only
settings.load_profile("no database")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Converted weights go into a cache of this test run, not into the user's."""
    os.environ["CLIPSEQ_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def shared():
    """The folder of real videos and per-frame data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return SHARED


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 5 MB; tests that need it skip where none can be mounted."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def make_video():
    """A function that writes a video of plain frames whose grey level rises by `step` from frame to frame."""
    import cv2

    def write(
        path: Path, *, frames: int = 12, size: tuple[int, int] = (48, 32), fps: float = 12, step: int = 8
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
        for k in range(frames):
            writer.write(np.full((size[1], size[0], 3), min(255, k * step), np.uint8))
        writer.release()
        return path

    return write


CI_HAS = (
    "needs jax",
    "needs ray",
    "ai_edge_litert",
    "scipy",
    "aiohttp",
    "s3fs",
    "needs playwright",
    "needs a Chromium",
)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a test that is skipped for want of what CI is meant to have has failed."""
    report = (yield).get_result()
    reason = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
    lacks = os.environ.get("CLIPSEQ_CI", "")  # 1, or what this machine cannot have
    if lacks and any(part in reason and part != lacks for part in CI_HAS):
        report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"
