"""Renders the bundled example: camera moves and fades over two photographs that differ only in frame order.

An `_out` clip holds the frames of its `_in` twin in reverse order, so models that average over time cannot separate
them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from extract.decode.packets import scan_packets
from extract.errors import UsageError, VideoError, WriteError
from extract.system.files import make_folder, sealed_file, write_csv, write_text

LABELS = ("zoom_in", "zoom_out", "fade_in", "fade_out", "still")
MOVES = ("zoom", "fade", "still")

# group: (photograph, left, top). The regions do not overlap, so that a test group has unseen content.
REGIONS = {
    "roof": (0, 85, 20),
    "balcony": (0, 70, 205),
    "lake": (0, 400, 60),
    "trees": (0, 400, 245),
    "petals_nw": (1, 65, 42),
    "petals_ne": (1, 307, 42),
    "petals_sw": (1, 65, 224),
    "petals_se": (1, 307, 224),
}
REGION_SIZE = (240, 180)
FRAME_SIZE = (256, 192)
WALLPAPER = ((190, 110, 150), (235, 205, 225))  # BGR of the stripes around the photograph, unlike anything in it
STRIPE = 12
NOISE_PLAY = 64  # how many pixels the noise sheet is larger than a frame
FRAMES_PER_SECOND = 24
# One sampled frame at the default 8 per second. Clips of a multiple of it, plus one, read the same from both ends.
STEP_FRAMES = 3
TAKES_PER_MOVE = 24
MONTAGES_PER_GROUP = 4
CLIP_STEPS = (12, 12, 20)  # shortest, most frequent, longest
SEGMENT_STEPS = (7, 10)
SEED = 7
VERSION = "clipseq demo 2"
MARKER = "complete.txt"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shot:
    """One camera move over one region, forwards; positions are fractions of the range the crop can move in.

    Args:
        num_frames: Length of the shot.
        zoom: Magnification at the first and the last frame.
        pan_x, pan_y: Position of the crop at the first and the last frame, 0 to 1.
        light: Opacity of the picture at the first and the last frame, 1 = no fade.
        backdrop: Grey level that the picture fades from.
        easing: Exponent of progress, below 1 = fast start.
        noise: Standard deviation of the sensor noise, grey levels.
        seed: Seed of the noise.
    """

    num_frames: int
    zoom: tuple[float, float]
    pan_x: tuple[float, float]
    pan_y: tuple[float, float]
    light: tuple[float, float]
    backdrop: float
    easing: float
    noise: float
    seed: int


def render_demo(folder: Path) -> None:
    """Renders the example data set, unless the folder already holds it.

    Args:
        folder: Gets `clips/<class>/<name>.mp4` with `labels.csv` (clip_id, label, group; ids relative to `clips/`) and
            `segments/<name>.mp4` with `segments.csv` (clip_id, start_seconds, end_seconds, label, group).

    Raises:
        UsageError: `folder` is a file.
        WriteError: A video or table cannot be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, but the demo needs a folder for its videos: choose another name.")
    if _is_complete(folder):
        _log.info("%s is complete, nothing to render", folder)
        return
    regions = _load_regions()
    rng = np.random.default_rng(SEED)
    videos = _render_clips(folder, regions, rng) + _render_montages(folder, regions, rng)
    write_text(folder / MARKER, "\n".join([VERSION, "labels.csv", "segments.csv", *videos]) + "\n")


def draw_photograph(region: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Draws a random window of a region, tinted and perhaps mirrored.

    Args:
        region: uint8 (180, 240, 3) BGR.
        rng: Source of all randomness.

    Returns:
        uint8 (height, width, 3) BGR, of the shape of a frame.
    """
    share = rng.uniform(0.6, 1.0)
    width, height = (round(share * size) for size in REGION_SIZE)
    left, top = (int(rng.integers(size - part + 1)) for size, part in zip(REGION_SIZE, (width, height), strict=True))
    window = region[top : top + height, left : left + width, :][:, :: rng.choice([1, -1])]
    return np.clip(window * rng.uniform(0.8, 1.15, size=3), 0, 255).astype(np.uint8)


def draw_shot(move: str, *, num_frames: int, rng: np.random.Generator) -> Shot:
    """Draws the free parameters of a camera move.

    Args:
        move: "zoom", "fade" or "still".
        num_frames: Length of the shot.
        rng: Source of all randomness.

    Returns:
        The shot, forwards: zooming in, fading in.
    """
    wide, tight = rng.uniform(0.3, 0.4), rng.uniform(0.9, 1.1)
    rest = rng.uniform(0.6, 0.8) if move == "fade" else rng.uniform(0.9, 1.1)
    pan_x, pan_y = ((at, float(np.clip(at + rng.uniform(-0.2, 0.2), 0, 1))) for at in rng.uniform(0.1, 0.9, size=2))
    return Shot(
        num_frames=num_frames,
        zoom=(wide, tight) if move == "zoom" else (rest, rest),
        pan_x=pan_x,
        pan_y=pan_y,
        light=(rng.uniform(0.0, 0.05), 1.0) if move == "fade" else (1.0, 1.0),
        backdrop=rng.uniform(0, 20),
        easing=rng.uniform(0.7, 1.5),
        noise=rng.uniform(0.5, 2.5),
        seed=int(rng.integers(2**31)),
    )


def render_shot(photograph: np.ndarray, shot: Shot) -> np.ndarray:
    """Renders the frames of a shot.

    Args:
        photograph: uint8 (height, width, 3) BGR, of the shape of a frame.
        shot: What the camera does.

    Returns:
        uint8 (N, 192, 256, 3) BGR.
    """
    rng = np.random.default_rng(shot.seed)
    progress = np.linspace(0, 1, shot.num_frames) ** shot.easing
    progress = progress * progress * (3 - 2 * progress)  # starts and ends at rest
    width, height = FRAME_SIZE
    noise = shot.noise * rng.standard_normal((height + NOISE_PLAY, width + NOISE_PLAY, 1), dtype=np.float32)
    noise = np.rint(noise).astype(np.int16).repeat(3, axis=2)  # every frame shows a different part of it
    corners = rng.integers(NOISE_PLAY, size=(shot.num_frames, 2))
    frames = np.empty((shot.num_frames, height, width, 3), np.uint8)
    for frame, at, (top, left) in zip(frames, progress, corners, strict=True):
        picture = _film(
            photograph, zoom=_between(shot.zoom, at), x=_between(shot.pan_x, at), y=_between(shot.pan_y, at)
        )
        light = _between(shot.light, at)
        picture = cv2.convertScaleAbs(picture, alpha=light, beta=(1 - light) * shot.backdrop)
        cv2.add(picture, noise[top : top + height, left : left + width], dst=frame, dtype=cv2.CV_8U)
    return frames


def _is_complete(folder: Path) -> bool:
    marker = folder / MARKER
    if not marker.is_file():
        return False
    version, *names = marker.read_text(encoding="utf-8").splitlines()
    return version == VERSION and all((folder / name).is_file() for name in names)


def _load_regions() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images  # china.jpg, flower.jpg: uint8 (427, 640, 3) RGB
    width, height = REGION_SIZE
    return {
        group: photographs[photograph][top : top + height, left : left + width, ::-1]
        for group, (photograph, left, top) in REGIONS.items()
    }


def _render_clips(folder: Path, regions: dict[str, np.ndarray], rng: np.random.Generator) -> list[str]:
    """Renders one-label clips and their table; returns the paths relative to the folder.

    Every shot has its own photograph, shared by twins, so that the picture content does not give away the direction.
    """
    rows: list[tuple[str, str, str]] = []
    for take in range(TAKES_PER_MOVE):
        group = list(regions)[take % len(regions)]
        for move in MOVES:
            num_frames = STEP_FRAMES * int(rng.triangular(*CLIP_STEPS)) + 1
            shot = draw_shot(move, num_frames=num_frames, rng=rng)
            frames = render_shot(draw_photograph(regions[group], rng=rng), shot)
            for label in _labels_of(move):
                clip_id = f"{label}/{group}_{len(rows) + 1:02d}.mp4"
                _write_video(folder / "clips" / clip_id, _in_order(frames, label))
                rows.append((clip_id, label, group))
    write_csv(folder / "labels.csv", [("clip_id", "label", "group"), *rows])
    return [f"clips/{clip_id}" for clip_id, _, _ in rows]


def _render_montages(folder: Path, regions: dict[str, np.ndarray], rng: np.random.Generator) -> list[str]:
    """Renders clips with one segment per class and their table; returns the paths relative to the folder."""
    rows: list[tuple[str, float, float, str, str]] = []
    names = [(f"montage_{group}_{take}.mp4", group) for group in regions for take in range(1, MONTAGES_PER_GROUP + 1)]
    for clip_id, group in names:
        parts, start = [], 0
        for label in rng.permutation(LABELS).tolist():
            num_frames = STEP_FRAMES * int(rng.integers(*SEGMENT_STEPS))
            shot = draw_shot(label.split("_")[0], num_frames=num_frames, rng=rng)
            frames = render_shot(draw_photograph(regions[group], rng=rng), shot)
            parts.append(_in_order(frames, label))
            end = start + num_frames
            rows.append((clip_id, start / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, label, group))
            start = end
        _write_video(folder / "segments" / clip_id, np.concatenate(parts))
    write_csv(folder / "segments.csv", [("clip_id", "start_seconds", "end_seconds", "label", "group"), *rows])
    return [f"segments/{clip_id}" for clip_id, _ in names]


def _labels_of(move: str) -> Sequence[str]:
    return [label for label in LABELS if label.split("_")[0] == move]


def _in_order(frames: np.ndarray, label: str) -> np.ndarray:
    return frames[::-1] if label.endswith("_out") else frames


def _between(ends: tuple[float, float], at: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * at


def _film(photograph: np.ndarray, *, zoom: float, x: float, y: float) -> np.ndarray:
    """What the camera sees of a photograph on a wall, uint8; at a zoom of 1 it fills the frame."""
    height, width = photograph.shape[:2]
    scale = zoom * FRAME_SIZE[0] / width
    left, top = (play * size * (1 - 1 / zoom) for play, size in ((x, width), (y, height)))
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    picture = _wallpaper().copy()
    flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_TRANSPARENT}
    return cv2.warpAffine(photograph, matrix, FRAME_SIZE, dst=picture, **flags)


@cache
def _wallpaper() -> np.ndarray:
    """The striped wall behind the photograph, uint8 (H, W, 3)."""
    diagonal = np.add.outer(np.arange(FRAME_SIZE[1]), np.arange(FRAME_SIZE[0]))
    return np.array(WALLPAPER, np.uint8)[diagonal // STRIPE % 2]


def _write_video(path: Path, frames: np.ndarray) -> None:
    """Writes a video and checks that it is complete: OpenCV does not report a full disk."""
    make_folder(path.parent)
    with sealed_file(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES_PER_SECOND, FRAME_SIZE)
        if not writer.isOpened():
            raise WriteError(f"OpenCV cannot write {path}: check that the folder is writable, or choose another one.")
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))
        writer.release()
        if _num_frames(temporary) != len(frames):
            raise WriteError(
                f"{path} could not be written completely: free some space, and run the same command again."
            )


def _num_frames(path: Path) -> int:
    try:
        return len(scan_packets(path, lambda: None).pts_seconds)
    except VideoError:
        return 0
