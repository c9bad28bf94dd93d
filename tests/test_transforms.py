import cv2
import numpy as np
import pytest
from video_files import colour_bars, moving_frames

from extract.errors import UsageError
from extract.records import SampledFrames
from extract.transforms import FRAME_TRANSFORMS, fit_frame, grey, make_transform


def chunk(frames, *, first=0):
    count = len(frames)
    return SampledFrames(
        np.asarray(frames, np.uint8),
        np.arange(first, first + count, dtype=np.int64),
        np.arange(first, first + count, dtype=np.float64),
    )


def line_pattern(height, width):
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, ::2] = 255
    return frame


def area_weights(pixels, size):
    """float64 (size, pixels): the part of every output pixel that every input pixel covers."""
    edges, starts = np.arange(size + 1) * pixels / size, np.arange(pixels)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.clip(overlap, 0, None) * size / pixels


def exact_area(frame, size):
    rows, columns = area_weights(frame.shape[0], size), area_weights(frame.shape[1], size)
    return np.einsum("ah,hwc,bw->abc", rows, frame.astype(np.float64), columns, optimize=True)


def rms(fitted, reference):
    return float(np.sqrt(((fitted - reference) ** 2).mean()))


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (720, 1280), (1079, 1917), (480, 854), (2160, 3840)])
def test_fine_lines_become_grey_and_not_noise(height, width):
    lines = line_pattern(height, width)
    assert fit_frame(lines, image_size=224).std() < 8  # INTER_AREA at 1080p: 6.9
    assert cv2.resize(lines, (224, 224)).std() > 70  # without averaging


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (720, 1280), (1079, 1917), (480, 854), (240, 320)])
def test_shrinking_is_near_the_exact_average_of_areas(height, width):
    grains = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    texture = cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC)
    exact = exact_area(texture, 224)
    fitted, bilinear = fit_frame(texture, image_size=224), cv2.resize(texture, (224, 224))
    assert rms(fitted, exact) < 4.5 and rms(fitted, exact) < rms(bilinear, exact) / 4


def test_stretch_keeps_all_of_the_picture():
    fitted = fit_frame(colour_bars(height=90, width=160), image_size=16, fit="stretch")
    assert fitted[8, [1, 5, 9, 13]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]


def test_crop_takes_the_middle():
    fitted = fit_frame(colour_bars(height=40, width=80), image_size=8, fit="crop")
    assert fitted[4, [1, 6]].tolist() == [[0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20)])
def test_pad_adds_black_and_keeps_the_shape(height, width):
    fitted = fit_frame(np.full((height, width, 3), 200, np.uint8), image_size=16, fit="pad")
    rows, columns = (fitted[..., 0].any(axis=1), fitted[..., 0].any(axis=0))
    assert (rows.sum(), columns.sum()) == ((8, 16) if height < width else (16, 8))
    assert fitted[8, 8].tolist() == [200, 200, 200]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (7, 5), (33, 1000), (24, 24)])
def test_every_size_becomes_the_size_asked_for(height, width, fit):
    fitted = fit_frame(np.full((height, width, 3), 90, np.uint8), image_size=24, fit=fit)
    assert fitted.shape == (24, 24, 3)
    assert fitted.max() == 90


def test_no_image_size_leaves_the_frame_alone():
    frame = colour_bars()
    assert fit_frame(frame, image_size=None) is frame


def test_an_unknown_fit_is_named():
    with pytest.raises(UsageError, match="fit 'zoom' is unknown, use one of stretch, crop, pad"):
        fit_frame(colour_bars(), image_size=8, fit="zoom")


def test_an_unknown_input_is_named():
    with pytest.raises(UsageError, match="input 'depth' is unknown, use one of rgb, diff, flow"):
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


@pytest.mark.parametrize("name", FRAME_TRANSFORMS)
def test_the_size_of_chunks_does_not_matter(name):
    frames = moving_frames(7)
    whole = make_transform(name)(chunk(frames)).frames
    stepwise = make_transform(name)
    parts = [stepwise(chunk(frames[at : at + 3], first=at)) for at in (0, 3, 6)]
    assert np.array_equal(np.concatenate([part.frames for part in parts]), whole)
    assert [int(part.frame_indices[0]) for part in parts] == [0, 3, 6]
