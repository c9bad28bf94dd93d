import av
import cv2
import numpy as np
import pytest
from video_files import colour_bars

from extract.decode.fit import FrameFitter


def fit_frame(picture, *, image_size, fit="stretch", orientation=(1, 0, 0, 1), pixel_format="rgb24"):
    """A picture uint8 (H, W, 3) as it comes out of a decoder, fitted."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
    fitter = FrameFitter(image_size, fit, orientation)
    fitted = np.empty(fitter.shape(frame), np.uint8)
    fitter.fit(frame, fitted)
    return fitted


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
    assert rms(fitted, exact) < 3 and rms(fitted, exact) < rms(bilinear, exact) / 3


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


def test_no_image_size_keeps_the_size():
    bars = colour_bars()
    assert np.array_equal(fit_frame(bars, image_size=None), bars)


def test_colour_is_not_halved_across_the_picture():
    """Without full chroma swscale gives two neighbours of the small picture one colour."""
    bars = np.zeros((448, 448, 3), np.uint8)
    bars[:, ::8], bars[:, 1::8] = (255, 0, 0), (255, 0, 0)
    bars[:, 2::8], bars[:, 3::8] = (0, 0, 255), (0, 0, 255)
    fitted = fit_frame(bars, image_size=224, pixel_format="yuv444p").astype(int)
    assert fitted[112, 100, 0] > 240 and fitted[112, 100, 2] < 15
    assert fitted[112, 101, 2] > 240 and fitted[112, 101, 0] < 15


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("orientation", "turned"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_turning_the_small_picture_is_turning_the_large_one(fit, orientation, turned):
    picture = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    small = fit_frame(picture, image_size=32, fit=fit, orientation=orientation).astype(int)
    assert np.abs(small - fit_frame(np.rot90(picture, turned).copy(), image_size=32, fit=fit)).max() <= 1


def test_a_very_long_picture_is_cropped_without_being_blown_up():
    picture = np.zeros((2, 50_000, 3), np.uint8)
    picture[:, 24_999:25_001] = (10, 200, 30)
    assert fit_frame(picture, image_size=24, fit="crop")[12, 12].tolist() == [10, 200, 30]
