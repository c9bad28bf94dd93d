"""Choose settings with scikit-learn, groups kept together: python grid_search.py STORE LABELS

LABELS is a CSV of clip_id,label,group.
"""

import sys

import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold

import clipseq


def main(store: str, labels: str) -> None:
    """Print the score of every point of the grid."""
    labelled = clipseq.open_store(store).labelled(labels)
    X = [clip.embeddings for clip in labelled.clips]
    y = [labelled.vocabulary[int(clip.labels)] for clip in labelled.clips]
    groups = np.array([clip.group for clip in labelled.clips])
    estimator = clipseq.SequenceEstimator(model="lstm", updates=100)
    search = GridSearchCV(estimator, {"hidden": [16, 48]}, cv=GroupKFold(3)).fit(X, y, groups=groups)
    for point, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{point}: {score:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
