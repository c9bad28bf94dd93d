"""From videos to test scores and a report: python videos_to_scores.py VIDEOS LABELS FOLDER [BACKBONE]

LABELS is a CSV of clip_id,label[,group]. Run it again at any time: what is done is skipped.
"""

import sys
from pathlib import Path

import clipseq


def main(videos: str, labels: str, folder: str, backbone: str = "efficientnet_lite0") -> None:
    """Print what failed, the run with its scores, and the report's path."""
    found = clipseq.extract(videos, Path(folder) / "features", backbone=backbone, progress=True)
    for clip_id, reason in found.failed.items():
        print(f"failed  {clip_id}: {reason}")
    run = clipseq.train(found.store, labels, task="many-to-one", run=Path(folder) / "run", progress=True)
    run.evaluate()
    print(run)
    print(run.report())


if __name__ == "__main__":
    main(*sys.argv[1:])
