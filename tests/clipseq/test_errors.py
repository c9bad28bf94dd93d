"""Every exported error, caused once."""

import numpy as np
import pytest

import clipseq

CLIP = np.zeros((3, 2), np.float32)


@pytest.fixture
def broken(tmp_path, make_video):
    """A folder with a video that lacks bytes in the middle, and one with a file that is no video."""
    video = make_video(tmp_path / "cut/a.avi", frames=40)
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 200 :])
    (tmp_path / "none").mkdir()
    (tmp_path / "none/a.avi").write_bytes(b"RIFF and then nothing")
    return tmp_path


def train(**options):
    clipseq.train(**{"store": "features", "labels": "labels.csv", "task": "many-to-one", "run": "runs/error"} | options)


CAUSES = {
    "ClipseqError": lambda folder: train(hiden=32),
    "UsageError": lambda folder: train(task="many-to-none"),
    "VideoError": lambda folder: clipseq.extract(folder / "cut", folder / "f", backbone="tiny", on_corrupt="fail"),
    "TooManyFailuresError": lambda folder: clipseq.extract(
        folder / "none", folder / "f", backbone="tiny", max_failures=0
    ),
    "BackboneError": lambda folder: clipseq.extract("videos", folder / "f", backbone="resnet5000"),
    "StoreError": lambda folder: clipseq.open_store(folder / "nothing"),
    "WriteError": lambda folder: clipseq.extract("videos", "labels.csv/f", backbone="tiny"),
    "LabelError": lambda folder: train(labels=folder / "nothing.csv"),
    "ClipError": lambda folder: clipseq.SequenceEstimator().fit([CLIP, CLIP[:, :1]] * 2, ["a", "b"] * 2),
    "SplitError": lambda folder: train(classes=["rise"]),
    "RunError": lambda folder: clipseq.open_run(folder / "nothing"),
}


@pytest.mark.parametrize("name", [name for name in clipseq.__all__ if name.endswith("Error")])
def test_every_error_can_be_caught_by_its_name(project, broken, name):
    with pytest.raises(getattr(clipseq, name)) as caught:
        CAUSES[name](broken)
    assert len(str(caught.value)) > 10 and "\n" not in str(caught.value)
