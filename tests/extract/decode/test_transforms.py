import numpy as np
import pytest
from video_files import colour_bars, moving_frames

from extract.backbones.pixels import grey
from extract.decode.settings import DecodeSettings
from extract.decode.transforms import FRAME_TRANSFORMS, make_transform
from extract.errors import UsageError
from extract.records import SampledFrames


def chunk(frames, *, first=0):
    count = len(frames)
    return SampledFrames(
        np.asarray(frames, np.uint8),
        np.arange(first, first + count, dtype=np.int64),
        np.arange(first, first + count, dtype=np.float64),
    )


def test_an_unknown_input_is_named():
    with pytest.raises(UsageError, match="input 'depth' is unknown; choose one of rgb, diff, flow"):
        make_transform("depth")


def test_grey_weighs_the_colours_as_eyes_do():
    bars = colour_bars(height=2, width=8)[None]  # (1, 2, 8, 3)
    assert grey(bars).tolist() == [[[[76], [76], [150], [150], [29], [29], [226], [226]]] * 2]


def test_diff_is_the_absolute_difference_to_the_frame_before():
    frames = [np.full((2, 3, 3), value, np.uint8) for value in (10, 30, 25)]
    transformed = make_transform("diff")(chunk(frames))
    assert transformed.frames[:, 0, 0, 0].tolist() == [0, 20, 5]


def test_flow_points_where_the_picture_moves():
    frames = moving_frames(3)
    right = make_transform("flow")(chunk(frames)).frames[2].reshape(-1, 3).mean(axis=0)
    left = make_transform("flow")(chunk(frames[::-1])).frames[2].reshape(-1, 3).mean(axis=0)
    assert right[0] > 132 and left[0] < 124
    assert abs(right[1] - 128) < 3
    assert right[2] > 132 and left[2] > 132


@pytest.mark.parametrize(("name", "nothing"), [("diff", 0), ("flow", 128)])
def test_the_first_row_of_a_clip_is_no_motion(name, nothing):
    transformed = make_transform(name)(chunk(moving_frames(2)))
    assert (transformed.frames[0] == nothing).all()
    assert (transformed.frames[1] != nothing).any()


def test_every_input_has_its_transform():
    assert tuple(FRAME_TRANSFORMS) == DecodeSettings.__dataclass_fields__["input"].metadata["choices"]


@pytest.mark.parametrize("name", FRAME_TRANSFORMS)
def test_the_size_of_chunks_does_not_matter(name):
    frames = moving_frames(7)
    whole = make_transform(name)(chunk(frames)).frames
    stepwise = make_transform(name)
    parts = [stepwise(chunk(frames[at : at + 3], first=at)) for at in (0, 3, 6)]
    assert np.array_equal(np.concatenate([part.frames for part in parts]), whole)
    assert [int(part.frame_indices[0]) for part in parts] == [0, 3, 6]
