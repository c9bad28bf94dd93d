"""Windows of frames: whole ones only, at the middle of their time, the same however the frames arrive."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from extract.embed.windows import WindowCutter, WindowRule
from extract.records import SampledFrames


def sampled(count: int, start: int = 0) -> SampledFrames:
    """Frames whose pixels are their number; frame n is number 3 n of the video, at n / 10 seconds."""
    numbers = np.arange(start, start + count)
    frames = np.broadcast_to(numbers[:, None, None, None], (count, 2, 2, 3)).astype(np.uint8)
    return SampledFrames(frames, numbers * 3, numbers / 10)


def cut(rule: WindowRule, chunks: list[SampledFrames]) -> list[tuple[list[int], int, float]]:
    """Each window: the numbers of its frames, its frame index, its time."""
    cutter, found = WindowCutter(rule), []
    for chunk in chunks:
        found += cutter.take(chunk)
    found += cutter.end()
    return [
        (window.frames[0, :, 0, 0, 0].tolist(), int(window.frame_indices[0]), float(window.pts_seconds[0]))
        for window in found
    ]


def test_windows_are_whole_and_stand_at_the_middle_of_their_time():
    windows = cut(WindowRule(frames=3, stride=2, hop=3), [sampled(10)])
    assert [frames for frames, _, _ in windows] == [[0, 2, 4], [3, 5, 7]]  # 6, 8, 10 would not be whole
    assert [index for _, index, _ in windows] == [6, 15]
    np.testing.assert_allclose([time for _, _, time in windows], [0.2, 0.5])


def test_a_clip_shorter_than_a_window_gets_one_that_repeats_its_last_frame():
    assert cut(WindowRule(4, 2, 8), [sampled(3)]) == [([0, 2, 2, 2], 3, 0.1)]


def test_a_clip_without_frames_gets_none():
    assert cut(WindowRule(4, 2, 8), []) == [] and WindowRule(4, 2, 8).count(0) == 0


@given(
    st.builds(WindowRule, st.integers(1, 5), st.integers(1, 3), st.integers(1, 12)),
    st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
def test_chunks_change_nothing_and_the_count_is_right(rule, sizes):
    starts = np.cumsum([0, *sizes])
    chunks = [sampled(size, start) for size, start in zip(sizes, starts[:-1], strict=True)]
    windows = cut(rule, chunks)
    assert windows == cut(rule, [sampled(int(starts[-1]))])
    assert len(windows) == rule.count(int(starts[-1]))
    if starts[-1] >= rule.span:
        assert [frames[0] for frames, _, _ in windows] == [k * rule.hop for k in range(len(windows))]
