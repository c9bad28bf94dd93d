"""The run directory: the only module that knows its file names.

runs/NAME/
  run.json            settings, data, folds and seeds; written first, compared when the run is resumed
  alignment.csv       how the intervals of each clip align with its features; only for per-frame labels
  models/<fold>-seed<k>.weights.h5, .json    best weights, and the update they are from
  logs/<fold>-seed<k>.csv                    one line per validation
  tensorboard/<fold>-seed<k>/                the same as events, if requested
  baselines/<fold>-<name>.npz                fitted without a sequence model, saved as arrays
  decisions/<fold>-<name>.json               how probabilities per timestep become labels, chosen on validation
  validation.json, choices.json              validation scores, pooled over folds, and per fold
  predictions.npz, predictions.csv, metrics.json, bouts.csv, report.html written by evaluate and report
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from extract.errors import RunError, UsageError
from extract.store.recipe import RECIPE_NAME, fingerprint, has_rate, is_store, recipe_differences
from extract.store.schema import COMPARISON_NAME, RUN_NAME, SHARD_PATTERN
from extract.system.files import make_folder, read_regular, reason_of, remove_stale_temporaries, write_json
from extract.system.typed_json import parse_json, typed_record
from extract.text import counted
from sequence_models.catalogue import RAW_MODEL_NAMES
from sequence_models.runs.clip_records import clip_differences
from sequence_models.settings import MANY_TO_ONE, RANGE, DataSettings, TrainSettings
from sequence_models.splits.folds import Fold

FINAL = "final"  # the "fold" of the models that are fitted on all clips after cross-validation
OFFICIAL = "official splits"  # the `cv` of a run on all official splits of a data set
MODEL = "model"  # name of the run's own model, alongside those of baselines
POSTPROCESSED = "_postprocessed"  # suffix of a model or baseline with post-processed labels
CHOICES = "choices.json"
COMPARISON = COMPARISON_NAME  # in the run directory of a comparison: model -> the folders of its runs
COMPARED = ("settings", "data", "cv", "vocabulary", "fingerprints", "clips", "folds")
RUN_SCHEMA = 3  # 1: "load" and "background" instead of "data"; 1, 2: "steps", no models on parts, "patience"
MOST_NAMES = 5  # of a list in a message
_FOLD_NAME = re.compile(r"[^/\\\0]+")


@dataclass(frozen=True)
class Run:
    """The settings and data of a run, as stored in run.json.

    Args:
        path: The run directory.
        settings: How models are built and trained.
        vocabulary: Class names in the order of the outputs.
        stores: Paths of the feature stores, joined per frame.
        recipes: Recipe of each store.
        fingerprints: Fingerprint of each store.
        labels: Path of the label file, or "" if the folders are the labels.
        data: How labels and features were joined.
        cv: "leave-one-group-out", a number of folds, OFFICIAL, or "" for one split.
        folds: The training, validation and test clips of each fold.
        seeds: Number of seeds, 0 to seeds - 1.
        inner: At least so many fits per fold, each of which holds out other clips; see `fits`.
        clips: clip_id -> `clip_record`.
        embedding_dim: Width of the joined embeddings, or (H, W, C) of joined raw frames.
        test_opened: How often the test split was evaluated.
        versions: Of the libraries.
        run_id: The owner named in its files; "" in runs of earlier versions.
    """

    path: Path
    settings: TrainSettings
    vocabulary: tuple[str, ...]
    stores: tuple[str, ...]
    recipes: tuple[dict, ...]
    fingerprints: tuple[str, ...]
    labels: str
    data: DataSettings
    cv: str
    folds: tuple[Fold, ...]
    seeds: int
    clips: dict[str, dict[str, str | int | None]]
    embedding_dim: int | tuple[int, ...]
    test_opened: int = 0
    inner: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    run_id: str = ""

    @property
    def background(self) -> str | None:
        """Class that segment metrics ignore."""
        return self.data.background

    @property
    def num_classes(self) -> int:
        """K, the width of the outputs."""
        return len(self.vocabulary)

    @property
    def time_unit(self) -> str:
        """Unit of the clips' times: "seconds", or "timesteps" if features were imported without a rate."""
        return "seconds" if all(map(has_rate, self.recipes)) else "timesteps"

    @property
    def times_name(self) -> str:
        """The name of the timesteps' times in its files."""
        return "pts_seconds" if self.time_unit == "seconds" else "timesteps"

    def model_path(self, fold: str, seed: int) -> Path:
        """The best weights of one fold and seed."""
        return self.path / "models" / f"{fold}-seed{seed}.weights.h5"

    @property
    def fits(self) -> int:
        """Number of fits per fold: one per seed, and more seeds if inner cross-validation needs them."""
        return max(self.seeds, self.inner)

    @property
    def rotates(self) -> bool:
        """Whether models are compared on all validation parts of a fold; else on the first."""
        return self.settings.task == MANY_TO_ONE or self.inner > 1

    def seeds_of(self, fold: str) -> range:
        """The seeds of the fits of a fold, or of those on all clips after cross-validation."""
        return range(self.seeds if fold == FINAL else self.fits)

    @property
    def all_fits(self) -> list[tuple[str, int]]:
        """Fold and seed of every fit, those on all clips last."""
        names = [fold.name for fold in self.folds] + ([FINAL] if self.cv else [])
        return [(name, seed) for name in names for seed in self.seeds_of(name)]

    @property
    def predicting_fold(self) -> str:
        """The fold whose models predict new clips: after cross-validation, those fitted on all clips."""
        return FINAL if self.cv else self.folds[0].name

    def fit_path(self, fold: str, seed: int) -> Path:
        """The record of one fit; it exists if and only if the fit has finished."""
        return self.path / "models" / f"{fold}-seed{seed}.json"

    def log_path(self, fold: str, seed: int) -> Path:
        """The log of one fit."""
        return self.path / "logs" / f"{fold}-seed{seed}.csv"

    def events_path(self, fold: str, seed: int) -> Path:
        """The folder of one fit's TensorBoard events."""
        return self.path / "tensorboard" / f"{fold}-seed{seed}"

    def decision_path(self, fold: str, name: str) -> Path:
        """The post-processing of one fold for the model or the named baseline."""
        return self.path / "decisions" / f"{fold}-{name}.json"

    def baseline_path(self, fold: str, name: str) -> Path:
        """The arrays of one fitted baseline."""
        return self.path / "baselines" / f"{fold}-{name}.npz"


def create_run(run: Run) -> Run:
    """Write run.json, or resume the existing run if it has the same settings and data.

    Args:
        run: The run wanted; `test_opened` and `run_id` are kept from an existing run.

    Returns:
        The run to work on.

    Raises:
        RunError: The directory holds another experiment or other files, or is inside a feature store.
        WriteError: It cannot be written.
    """
    _refuse_folder(run.path)
    for folder in ("models", "logs", "baselines", "decisions"):
        make_folder(run.path / folder)
        remove_stale_temporaries(run.path / folder)
    remove_stale_temporaries(run.path)
    if not (run.path / RUN_NAME).exists():
        run = replace(run, run_id=run_digest(run))
        write_json(run.path / RUN_NAME, _to_record(run))
        return run
    old = read_run(run.path)
    differing = run_differences(old, run)
    if differing:
        raise RunError(
            f"{run.path} holds another experiment: {'; '.join(differing)}. Use another --run, or delete that directory"
        )
    run = replace(run, test_opened=old.test_opened, run_id=old.run_id)
    write_json(run.path / RUN_NAME, _to_record(run))
    return run


def run_differences(old: Run, new: Run) -> list[str]:
    """In which settings and data two runs differ, in command-line terms; none: the old one can be continued."""
    before, now = _to_record(old), _to_record(new)
    return [text for key in COMPARED if before[key] != now[key] for text in _differences(key, before, now)]


def run_digest(run: Run) -> str:
    """16 hexadecimal digits from the settings and data of a run, independent of paths."""
    record = {name: value for name, value in _to_record(run).items() if name not in ("stores", "labels", "versions")}
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


def read_run(path: str | Path) -> Run:
    """Read run.json.

    Raises:
        RunError: It is missing or damaged.
    """
    path = Path(path)
    try:
        record = parse_json(read_regular(path / RUN_NAME))
        run = typed_record(Run, _of_today(record), "it", path=path)
        _check_whole(run)
        return run
    except (FileNotFoundError, NotADirectoryError):
        if is_store(path):
            raise RunError(
                f"{path} is a feature store, not a run directory; give the --run of the clipseq train that used it"
            ) from None
        raise RunError(
            f"{path} is not a run directory: it has no run.json. Make one with clipseq train ... --run {path}"
        ) from None
    except (OSError, ValueError, UsageError) as error:
        raise RunError(
            f"{path / RUN_NAME} cannot be read ({reason_of(error)}); train again into another --run"
        ) from None


def note_test_opened(run: Run) -> Run:
    """Count in run.json that the test split is about to be evaluated."""
    run = replace(run, test_opened=run.test_opened + 1)
    write_json(run.path / RUN_NAME, _to_record(run))
    return run


def _check_whole(run: Run) -> None:
    """Raises ValueError if the parts of a run.json are inconsistent."""
    names = [clip_id for fold in run.folds for clip_id in (*fold.known, *fold.test, *sum(fold.rotation, ()))]
    widths = run.embedding_dim if isinstance(run.embedding_dim, tuple) else (run.embedding_dim,)
    problems = {
        "it has no classes, or duplicates": len(set(run.vocabulary)) != len(run.vocabulary) or not run.vocabulary,
        "it has no folds, or duplicates": len({fold.name for fold in run.folds}) != len(run.folds) or not run.folds,
        "a fold's name is not a valid file name": not all(_FOLD_NAME.fullmatch(fold.name) for fold in run.folds),
        "a fold holds clips that it does not list": not run.clips.keys() >= set(names),
        "a clip has no group or length": not all({"group", "timesteps"} <= clip.keys() for clip in run.clips.values()),
        "its seeds or the width of its features are below 1": min(run.seeds, *widths) < 1 or len(widths) not in (1, 3),
        "its inner fits are below 1": run.inner < 1,
        "its recipes do not match its fingerprints": [*map(fingerprint, run.recipes)] != [*run.fingerprints],
        "its stores and recipes differ in number": len(run.stores) != len(run.recipes),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ValueError(problem)


def _of_today(record: Any) -> Any:
    """The record of a run in the current schema.

    Raises:
        ValueError: Its schema is newer.
    """
    if not isinstance(record, dict):
        return record
    version = record.pop("schema_version", 1)
    if version not in (1, 2, RUN_SCHEMA):
        raise ValueError(f"it has schema {version!r}, but this clipseq reads up to {RUN_SCHEMA}: upgrade clipseq")
    if version == 1 and isinstance(load := record.pop("load", None), dict):
        record["data"] = load | {"background": record.pop("background", None)}
    if version < 3 and isinstance(settings := record.get("settings"), dict):
        record["settings"] = _settings_of_schema_2(settings)
    settings = record.get("settings")
    if isinstance(settings, dict) and settings.get("model") in RAW_MODEL_NAMES:
        settings.setdefault("frame_scaling", RANGE)  # what earlier versions did
    return record


def _settings_of_schema_2(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert settings of schema 2, where the read-out `concat` selected models on parts and patience was in epochs.

    Raises:
        ValueError: The model no longer exists.
    """
    settings = {name: value for name, value in settings.items() if name != "patience"}
    steps, readout = settings.pop("steps", 0), settings.get("readout")
    name = "head" if settings.get("model") == "td_backbone_rnn" else "model"
    model = settings.get(name)
    if settings.get("task") != MANY_TO_ONE or model not in ("lstm", "bilstm", "gru", "bigru", "mstcn"):
        return settings | ({"readout": "attention"} if readout == "concat" else {})
    if readout == "concat" and model != "mstcn":
        return settings | {name: f"{model}_parts", "parts": steps or 4, "readout": "attention"}
    if steps or readout == "concat":
        raise ValueError(
            f"its model, {model} with steps {steps} and readout {readout}, no longer exists: train it again"
        )
    return settings


def _to_record(run: Run) -> dict[str, Any]:
    record = {name: getattr(run, name) for name in run.__dataclass_fields__ if name != "path"}
    record["settings"], record["data"] = asdict(run.settings), asdict(run.data)
    record["folds"] = [asdict(fold) for fold in run.folds]
    record["schema_version"] = RUN_SCHEMA
    return json.loads(json.dumps(record))  # tuples and lists compare alike


def _refuse_folder(path: Path) -> None:
    """Refuse to put a new run among other files."""
    if (path / RUN_NAME).exists():
        return
    whole = path.absolute()
    above = (each for each in (whole, *whole.parents) if (each / RECIPE_NAME).is_file())
    store = next((each for each in above if each == whole or any(each.glob(SHARD_PATTERN))), None)
    if store is not None:
        what = "is a feature store" if store == whole else f"is inside the feature store {store}"
        raise RunError(f"--run {path} {what}; choose a folder of its own, such as --run runs/first")
    held = next((file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")), None)
    if held is not None:
        raise RunError(
            f"--run {path} holds other files (such as {held.relative_to(path)}); choose a new or empty folder"
        )


def _differences(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences in a part of run.json, in command-line terms."""
    old, new = before[key], now[key]
    if key in ("settings", "data"):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return [_changed(f"--{_flag(name)}", old.get(name), new.get(name)) for name in names]
    if key == "cv":
        return [_changed("--cv", old, new)]
    if key == "vocabulary":
        return [_changed("the list of classes", old, new)]
    if key == "fingerprints" and len(old) != len(new):
        return [f"it had {counted(old, 'feature store')}, now {len(new)}"]
    if key == "fingerprints":
        pairs = zip(before["recipes"], now["recipes"], strict=False)
        changed = [_changed(*each) for pair in pairs for each in recipe_differences(*pair)]
        return changed or ["the feature stores differ"]
    if key == "clips":
        return clip_differences(old, new)
    return [f"the {key} differ"]


def _flag(name: str) -> str:
    return {"keep": "clips"}.get(name, name).replace("_", "-")


def _changed(name: str, before: Any, now: Any) -> str:
    return f"{name} was {_shown(before)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    if value in (None, "", []) or value is False:
        return "not given"
    if isinstance(value, list):
        return ", ".join(map(str, value[:MOST_NAMES])) + (", ..." if len(value) > MOST_NAMES else "")
    return "given" if value is True else str(value)
