"""Published predictions of action segmentation, and the scores that they must get (the README beside the data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

# set/model: background, accuracy V, accuracy P, edit V, F1@10/25/50 V, F1@10/25/50 P (see the README beside the data)
PUBLISHED = {
    "GTEA/video_SVM": ((0,), 53.70, 53.16, 35.75, (44.23, 38.16, 27.99), (42.34, 36.01, 26.10)),
    "GTEA/video_tCNN_C30": ((0,), 60.60, 58.34, 54.02, (58.75, 54.44, 41.92), (55.06, 50.56, 38.76)),
    "GTEA/video_DilatedTCN_L5_B2": ((0,), 61.30, 61.35, 52.86, (60.87, 54.68, 40.23), (59.79, 53.17, 39.12)),
    "GTEA/video_ED-TCN_L2_C25": ((0,), 63.71, 63.41, 69.89, (73.15, 68.52, 55.60), (72.25, 67.60, 55.23)),
    "50Salads/mid/mid_video_SVM": ((0,), 54.94, 54.54, 21.43, (28.69, 22.69, 15.36), (27.52, 21.62, 14.52)),
    "50Salads/mid/mid_video_ED-TCN_L2_C15": ((0,), 64.68, 64.35, 59.85, (68.02, 63.89, 52.55), (67.24, 63.06, 51.91)),
    "JIGSAWS/video_ED-TCN_L2_C20": ((), 81.16, 80.33, 84.53, (90.13, 88.36, 80.76), (89.21, 87.41, 79.75)),
}


def published_labels(folder: Path) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """Per split of one model, the true and the predicted labels (T,) of its videos."""
    loadmat = pytest.importorskip("scipy.io").loadmat
    splits = {path.stem: loadmat(path) for path in sorted(folder.glob("*.mat"))}
    return {
        name: tuple([cell.ravel().astype(int) for cell in cells[side].ravel()] for side in "YP")
        for name, cells in splits.items()
    }
