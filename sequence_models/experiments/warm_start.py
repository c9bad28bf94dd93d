"""Initialises the head of a fine-tuned backbone from a run on cached embeddings: fold by fold, seed by seed.

A head must not be tested on clips that it was trained on, so the folds have to match.
"""

from __future__ import annotations

from functools import lru_cache

import keras

from extract.errors import RunError
from extract.text import counted
from sequence_models.experiments.prepare import refuse_changed_clips
from sequence_models.models.build import load_model
from sequence_models.runs.checks import refuse_changed_weights
from sequence_models.runs.run import FINAL, Run, read_run
from sequence_models.training.fine_tuning import pretrained_digest

SHAPING = (  # settings that determine the structure of a model on embeddings
    *("task", "multi_label", "readout", "hidden", "layers", "projection", "parts", "causal"),
    *("tcn_stages", "tcn_layers"),
)


def start_head(run: Run, fold: str, seed: int) -> keras.Model | None:
    """The model on embeddings that one fit of a run starts from.

    Args:
        run: A run of td_backbone_rnn.
        fold: Name of the fold, or `FINAL`.
        seed: If the earlier run has fewer seeds, they are used in turn.

    Returns:
        The trained model of the same fold; None if `start_from` is not set.

    Raises:
        RunError: The earlier run has another head, backbone or vocabulary, or was trained on test clips; or its
            features, labels or weights have changed since.
    """
    if not run.settings.start_from:
        return None
    earlier = read_run(run.settings.start_from)
    _check_structure(run, earlier)
    _check_embeddings(run, earlier)
    _check_folds(run, earlier, fold, seed)
    _refuse_changed_clips(run.settings.start_from)
    weights = earlier.model_path(fold, seed % len(earlier.seeds_of(fold)))
    refuse_changed_weights(earlier, fold, seed % len(earlier.seeds_of(fold)))
    return load_model(earlier.settings, weights, embedding_dim=earlier.embedding_dim, num_classes=earlier.num_classes)


@lru_cache(maxsize=1)  # once for all fits of a run
def _refuse_changed_clips(path: str) -> None:
    refuse_changed_clips(read_run(path))


def _check_structure(run: Run, earlier: Run) -> None:
    pairs = [("head", earlier.settings.model, run.settings.head)]
    pairs += [(name, getattr(earlier.settings, name), getattr(run.settings, name)) for name in SHAPING]
    differing = [f"{name} {theirs} (not {ours})" for name, theirs, ours in pairs if theirs != ours]
    if differing:
        raise RunError(
            f"{earlier.path} was trained with {', '.join(differing)}; use the same settings as --start-from, or give "
            "it a run with yours."
        )
    if earlier.vocabulary != run.vocabulary:
        raise RunError(
            f"{earlier.path} has the classes {', '.join(earlier.vocabulary)}, but this run has "
            f"{', '.join(run.vocabulary)}; train both on the same labels."
        )


def _check_embeddings(run: Run, earlier: Run) -> None:
    """The cached embeddings must be those of the untrained backbone on these frames."""
    theirs, frames = earlier.recipes[0], run.recipes[0]
    size = run.embedding_dim[0] if isinstance(run.embedding_dim, tuple) else run.embedding_dim
    digest = pretrained_digest(run.settings, image_size=size)
    ours = {"backbone": run.settings.backbone, "weights_digest": digest, "image_size": size}
    ours |= {name: frames.get(name) for name in ("fit", "input")}
    ours["pool"] = None if run.settings.pool == "avg" else run.settings.pool  # a recipe does not name the average
    differing = [f"{name} {theirs.get(name)} (not {ours[name]})" for name in ours if theirs.get(name) != ours[name]]
    if differing or len(earlier.recipes) != 1:
        raise RunError(
            f"{earlier.path} was trained on embeddings with {', '.join(differing) or 'several stores joined'}; "
            "give a run on embeddings of the same backbone and frames."
        )


def _check_folds(run: Run, earlier: Run, fold: str, seed: int) -> None:
    if fold == FINAL:
        return
    known = {each.name: each for each in earlier.folds}
    if fold not in known:
        raise RunError(f"{earlier.path} has no fold {fold} (it has {', '.join(known)}); train it with the same --cv.")
    (ours,) = (each for each in run.folds if each.name == fold)
    seen = set(known[fold].known).intersection(ours.test)
    if seen:
        raise RunError(
            f"{earlier.path} was trained on {counted(seen, 'test clip')} of fold {fold} (first: {min(seen)}), so the "
            "test would be invalid; train both with the same labels and the same --cv or --split."
        )
    learnt = set(known[fold].of_seed(seed % earlier.fits).train).intersection(ours.of_seed(seed).validation)
    if learnt:
        raise RunError(
            f"{earlier.path} has {counted(earlier.fits, 'fit')}, and the model that seed {seed} would start from was "
            f"trained on {len(learnt)} of its validation clips in fold {fold}; train it with --seeds {run.fits} first."
        )
