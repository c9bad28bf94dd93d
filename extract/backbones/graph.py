"""What a model file says about itself: its inputs and outputs. One reader per format, all lazily imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from extract.errors import BackboneError

FORMATS = (".onnx", ".tflite", ".keras")


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, NumPy type, and shape; None is a size that varies."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


@dataclass(frozen=True)
class Graph:
    """The inputs and outputs of a model file, and the files that hold its weights."""

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Path, ...] = ()
    producer: str = ""
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def pictures(self) -> Tensor:
        """The input that takes pictures.

        Raises:
            BackboneError: There is none, or more inputs than that.
        """
        if len(self.inputs) != 1 or len(self.inputs[0].shape) not in (4, 5):
            said = "; ".join(map(str, self.inputs)) or "none"
            raise BackboneError(
                f"{self.path}: a backbone has one input, pictures (4 axes) or windows of pictures (5 axes), but this "
                f"model's inputs are: {said}. Export the part that takes pictures alone"
            )
        return self.inputs[0]

    def output(self, name: str) -> Tensor:
        """The output of this name.

        Raises:
            BackboneError: There is none.
        """
        for each in self.outputs:
            if each.name == name:
                return each
        raise BackboneError(
            f"{self.path}: there is no output {name!r}; the outputs are {', '.join(map(str, self.outputs))}"
        )


def check_format(path: Path) -> str:
    """The ending of a model file.

    Raises:
        BackboneError: It is of no known format, or is not there.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        programs = {"", ".pb", ".pt", ".pth", ".ts", ".torchscript", ".mar"}
        why = (
            "SavedModel and TorchScript are programs, which could do anything on this machine; export it to ONNX"
            if ending in programs
            else f"a backbone's file ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
        raise BackboneError(f"{path}: {why}")
    if not path.is_file():
        raise BackboneError(f"{path}: there is no such model file; check the path")
    return ending


def read_graph(path: Path) -> Graph:
    """The inputs and outputs of a model file.

    Raises:
        BackboneError: It cannot be read, or what reads it is not installed.
    """
    ending = check_format(path)
    if ending == ".onnx":
        from extract.backbones.onnx_file import read_onnx

        return read_onnx(path)
    if ending == ".tflite":
        from extract.backbones.tflite_file import read_tflite

        return read_tflite(path)
    from extract.backbones.keras_file import read_keras

    return read_keras(path)
