import cv2
import numpy as np
import pytest

from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import NoFramesError
from extract.records import VideoItem
from extract.videos.rule import SamplingRule


def write_pictures(folder, numbers, *, pattern="img_{}.png", size=(6, 8)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / pattern.format(number)), np.full((*size, 3), (0, 0, number), np.uint8))
    return folder


def read(folder, rule="every=1", **settings):
    settings = DecodeSettings(SamplingRule.parse(rule), image_size=8, **settings)
    with open_clip(VideoItem("clip", folder), settings) as reader:
        (chunk,) = reader
    return chunk, reader.truth


def test_pictures_come_in_natural_order_as_rgb(tmp_path):
    chunk, truth = read(write_pictures(tmp_path, range(1, 13)))
    assert chunk.frames[:, 0, 0].tolist() == [[n, 0, 0] for n in range(1, 13)]
    np.testing.assert_allclose(chunk.pts_seconds, np.arange(12) / 25)
    assert (truth.codec, truth.timestamps, truth.decoded_frames, truth.width, truth.height) == (
        "images",
        "rebuilt",
        12,
        8,
        6,
    )
    assert truth.notes == ("timestamps rebuilt: pictures have no timestamps, 25 frames/s is assumed",)


@pytest.mark.parametrize(
    ("dtype", "highest", "said"),
    [
        (np.uint16, 4095, "levels up to 4,095 of 65,535"),
        (np.uint16, 40_000, ""),
        (np.uint8, 15, "levels up to 15 of 255"),
        (np.uint8, 100, ""),
    ],
)
def test_pictures_that_use_a_fraction_of_their_range_get_a_remark(tmp_path, dtype, highest, said):
    """12 bits in 16-bit files came out nearly black, without a word."""
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.linspace(0, highest, 48).reshape(6, 8).astype(dtype))
    _, truth = read(tmp_path)
    assert said in "".join(truth.remarks) and len(truth.remarks) == bool(said)


def test_files_of_several_pictures_get_a_remark(tmp_path):
    pages = [np.full((6, 8), 200, np.uint8)] * 3
    for number in range(2):
        cv2.imwritemulti(str(tmp_path / f"{number}.tif"), pages)
    chunk, truth = read(tmp_path)
    assert len(chunk) == 2 and truth.remarks == ("each file holds several pictures, only the first is used",)


def test_pictures_of_several_sizes_are_one_clip(tmp_path):
    write_pictures(tmp_path, [1, 2])
    write_pictures(tmp_path, [3], size=(30, 20))
    assert read(tmp_path)[0].frames.shape == (3, 8, 8, 3)


def test_rules_hold_for_pictures(tmp_path):
    assert read(write_pictures(tmp_path, range(50)), "fps=8")[0].frame_indices.tolist()[:4] == [0, 4, 7, 10]


def test_a_picture_that_cannot_be_read_is_a_lost_span(tmp_path):
    write_pictures(tmp_path, range(1, 6))
    (tmp_path / "img_3.png").write_bytes(b"no picture")
    chunk, truth = read(tmp_path)
    assert chunk.frames[:, 0, 0, 0].tolist() == [1, 2, 4, 5]
    np.testing.assert_allclose(chunk.pts_seconds, [0, 0.04, 0.12, 0.16])
    np.testing.assert_allclose(truth.lost_spans, [(0.08, 0.12)])
    assert "decoding failed 1 time (last: img_3.png is not a picture)" in truth.notes


def test_missing_numbers_are_counted(tmp_path):
    _, truth = read(write_pictures(tmp_path, [1, 2, 7]))
    assert truth.notes[0].endswith("(4 numbers are missing from the sequence)")


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8), 70, np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((8, 8, 4), (10, 20, 30, 0), np.uint8))
    cv2.imwrite(str(tmp_path / "3.png"), np.full((8, 8), 200 * 256, np.uint16))
    assert read(tmp_path)[0].frames[:, 0, 0].tolist() == [[70] * 3, [30, 20, 10], [200] * 3]


def test_pictures_of_which_none_can_be_read_are_named(tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(NoFramesError, match=r"none of its pictures can be read \(1 picture\); replace them"):
        read(tmp_path)
