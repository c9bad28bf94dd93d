"""Runs an exported model on clips, without Clipseq: python run_model.py CLIP.npy [CLIP.npy ...] > predictions.csv

A clip is an .npy file of the array that README.md describes, (T, ...), or an .npz file with every input by its name.
Needs NumPy, and for the file keras (.keras), tensorflow (saved_model), onnxruntime (.onnx) or ai-edge-litert (.tflite).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

FILES = ("model.onnx", "model.tflite", "saved_model", "model.keras")  # the first that is there is run
LEAST = 1e-7, 1e-4  # lowest probability that is calibrated, and that is compared over time
Model = Callable[[dict[str, np.ndarray]], np.ndarray]


def load(path: Path) -> Model:
    """A function from padded inputs by name to probabilities (B, K) or (B, T, K)."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(["probabilities"], inputs)[0]
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        return _litert(Interpreter(str(path)))
    if path.suffix == ".keras":
        import keras

        model = keras.saving.load_model(path, compile=False)
        return lambda inputs: np.asarray(keras.ops.convert_to_numpy(model(inputs, training=False)))
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda inputs: loaded.serve({k: tf.constant(v) for k, v in inputs.items()})["probabilities"].numpy()


def _litert(interpreter) -> Model:
    def compute(inputs: dict[str, np.ndarray]) -> np.ndarray:
        places = {each["name"].split(":")[0]: each["index"] for each in interpreter.get_input_details()}
        for name, index in places.items():
            interpreter.resize_tensor_input(index, inputs[name].shape)
        interpreter.allocate_tensors()
        for name, index in places.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return compute


def pad(clips: Sequence[dict[str, np.ndarray]], facts: dict) -> dict[str, np.ndarray]:
    """Clips of any lengths as one batch: the inputs of the model by name."""
    main, *others = [name for name in facts["inputs"] if name != "lengths"]
    lengths = np.array([len(clip[main]) for clip in clips], np.int32)
    batch = {"lengths": lengths}
    for name in (main, *others):
        dtype = facts["inputs"][name]["dtype"]
        batch[name] = np.zeros((len(clips), max(lengths), *clips[0][name].shape[1:]), dtype)
        for row, clip in enumerate(clips):
            batch[name][row, : len(clip[name])] = clip[name]
    return batch


def decide(probabilities: np.ndarray, how: dict) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What `clipseq predict` makes of the probabilities (K,) or (T, K) of a clip.

    Returns:
        Calibrated probabilities; class numbers () or (T,), with thresholds per class bool (T, K); steps left out.
    """
    probabilities, left_out = calibrate(probabilities, how["temperature"], how["multi_label"]), []
    if how["threshold"] is not None and probabilities.ndim == 1:
        return probabilities, np.array(int(probabilities[1] >= how["threshold"])), []
    if probabilities.ndim == 1:
        return probabilities, np.array(probabilities.argmax()), []
    if any(how["minimum_steps"]):
        left_out.append(f"shortest bouts of {how['minimum_steps']} timesteps")
    smooth = probabilities if how["prices"] else median(probabilities, how["median"])
    if how["multi_label"]:
        return probabilities, smooth >= np.array(how["thresholds"] or 0.5), left_out
    if how["threshold"] is not None:
        return probabilities, (smooth[:, 1] >= how["threshold"]).astype(int), left_out
    scores = np.log(np.maximum(smooth, LEAST[1]).astype(float)) - np.array(how["log_prior"] or 0.0)
    if how["prices"] and how["lag"] is None:
        return probabilities, viterbi(scores, np.array(how["prices"])), left_out
    if how["prices"]:
        left_out.append(f"prices of changes with a lag of {how['lag']} timesteps")
    return probabilities, (scores if how["log_prior"] else smooth).argmax(axis=1), left_out


def calibrate(probabilities: np.ndarray, temperature: float, multi_label: bool) -> np.ndarray:
    """Log probabilities, or log odds, divided by a temperature."""
    if temperature == 1:
        return probabilities
    given = np.clip(probabilities.astype(float), LEAST[0], 1 - LEAST[0])
    odds = given / (1 - given) if multi_label else given
    powers = odds ** (1 / temperature)
    return (powers / (1 + powers) if multi_label else powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def median(probabilities: np.ndarray, width: int) -> np.ndarray:
    """The running median over time of every column of (T, K), its ends mirrored."""
    if width == 1:
        return probabilities
    mirrored = np.pad(probabilities, ((width // 2, width // 2), (0, 0)), mode="symmetric")
    return np.median(np.lib.stride_tricks.sliding_window_view(mirrored, width, axis=0), axis=-1)


def viterbi(scores: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """The best path of classes (T,) through scores (T, K), where a change from class i to j costs prices[i, j]."""
    best, came = scores[0], []
    for each in scores[1:]:
        paths = best[:, None] - prices  # (from, to)
        came.append(paths.argmax(axis=0))
        best = paths.max(axis=0) + each
    path = [int(best.argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])


def read_clip(path: Path, facts: dict) -> dict[str, np.ndarray]:
    """The inputs of one clip from a file, without the lengths."""
    names = [name for name in facts["inputs"] if name != "lengths"]
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read as a NumPy file ({error}); give a .npy or .npz file") from None
    clip = {name: content[name] for name in names if name in content} if path.suffix == ".npz" else {names[0]: content}
    if missing := [name for name in names if name not in clip]:
        raise SystemExit(f"{path}: the model also needs {missing[0]}; give an .npz file with {', '.join(names)}")
    for name, array in clip.items():
        wanted = facts["inputs"][name]["shape"][2:]
        if list(array.shape[1:]) != wanted or not len(array) or len(array) != len(clip[names[0]]):
            raise SystemExit(f"{path}: {name} is {array.shape}, but it must be (T, {', '.join(map(str, wanted))})")
    return clip


def rows_of(name: str, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Iterator[list]:
    """Lines of a table: one per clip, or one per timestep."""
    for step, (numbers, label) in enumerate(zip(np.atleast_2d(probabilities), np.atleast_1d(labels), strict=True)):
        at = [step] if probabilities.ndim > 1 else []
        said = "|".join(np.array(classes)[label]) if np.ndim(label) else classes[int(label)]
        yield [name, *at, said, *(f"{number:.4f}" for number in numbers)]


def main() -> None:
    """Predict clips, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help=".npy or .npz file")
    parser.add_argument("--model", type=Path, help=f"file or folder of this export; default: the first of {FILES}")
    arguments = parser.parse_args()
    here = Path(__file__).parent
    facts = json.loads((here / "export.json").read_text(encoding="utf-8"))
    found = arguments.model or next((here / name for name in FILES if (here / name).exists()), here / FILES[0])
    if not found.exists():
        raise SystemExit(f"{found} does not exist; give a file of this export with --model")
    model = load(found)
    clips = [read_clip(path, facts) for path in arguments.clips]
    table, classes = csv.writer(sys.stdout, lineterminator="\n"), facts["classes"]
    left_out: dict[str, None] = {}
    per_step = ["timestep"] if facts["task"] == "many-to-many" else []
    table.writerow(["clip", *per_step, "label", *(f"p_{name}" for name in classes)])
    for path, clip in zip(arguments.clips, clips, strict=True):
        probabilities, labels, missing = decide(model(pad([clip], facts))[0], facts["post_processing"])
        table.writerows(rows_of(str(path), probabilities, labels, classes))
        left_out |= dict.fromkeys(missing)
    if left_out:
        sys.stderr.write(f"labels are without these steps of clipseq predict: {'; '.join(left_out)}\n")


if __name__ == "__main__":
    main()
