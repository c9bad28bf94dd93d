"""The layout is the data flow: what may import what (read from the sources), and what stays out of a quick command."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("clipseq", "extract", "sequence_models")
SOURCES = [
    ROOT / "pipeline.py",
    *(source for package in PACKAGES for source in sorted(ROOT.glob(f"{package}/**/*.py"))),
]
# From the bottom up: a room, or a module beside the rooms, imports what stands in front of it, and its own room.
STAGE_ONE = (
    *("errors", "options", "text", "system", "records", "videos", "store", "decode", "backbones", "engines", "embed"),
    *("jobs", "preview", "demo", "command_line", "arguments", "cli"),
)
STAGE_TWO = (
    *("catalogue", "settings", "records", "labels", "scoring", "clips", "splits", "models", "prediction", "runs"),
    *("training", "experiments", "report", "export", "label_arguments", "arguments", "cli"),
)
SEAM = ("errors", "options", "text", "records", "system", "store", "command_line")
WIDER_SEAM = {
    "models": ("backbones", "engines"),
    "training": ("backbones", "engines"),
    "prediction": ("decode",),
    "report": ("decode", "preview"),
    "export": ("backbones",),
}
HOMES = {
    "h5py": ("extract/store/",),
    "av": ("extract/decode/",),
    "ray": ("extract/jobs/cluster", "sequence_models/experiments/cluster"),
    "tensorflow": ("extract/system/quiet_start", "sequence_models/export/"),
    "pandas": ("clipseq/",),
    "fsspec": ("extract/videos/remote",),
    "aiohttp": ("extract/videos/remote",),
    "s3fs": ("extract/videos/remote",),
    "matplotlib": ("sequence_models/report/", "extract/system/lettering"),
    "jinja2": ("sequence_models/report/",),
}
NO_KERAS = {
    "extract": ("errors", "text", "records", "system", "videos", "store", "decode", "jobs", "preview", "cli"),
    "sequence_models": ("settings", "labels", "scoring", "clips", "splits", "prediction", "runs", "cli"),
}


def imports_of(source: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    nodes = [n for n in tree.body if not isinstance(n, ast.If)] if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(source: Path) -> str:
    return source.relative_to(ROOT).as_posix()


def room_of(module: str) -> tuple[str, str]:
    """The stage and the room of a module, such as ("extract", "store"); the room of a stage itself is ""."""
    stage, _, rest = module.partition(".")
    return stage, rest.partition(".")[0]


MODULES = {name_of(s)[:-3].replace("/", ".").removesuffix(".__init__"): s for s in SOURCES}


def test_every_room_has_its_place():
    for module in MODULES:
        stage, room = room_of(module)
        order = {"extract": STAGE_ONE, "sequence_models": STAGE_TWO}.get(stage)
        assert order is None or not room or room in order, module


def test_stage_one_knows_nothing_of_stage_two():
    for module, source in MODULES.items():
        if module.startswith("extract"):
            used = [m for m in imports_of(source) if m.startswith(("sequence_models", "pipeline"))]
            assert not used, f"{module} imports {used}"


def test_nothing_but_the_entry_point_imports_the_python_face():
    for module, source in MODULES.items():
        if module != "pipeline" and not module.startswith("clipseq"):
            assert "clipseq" not in {m.split(".")[0] for m in imports_of(source)}, module


@pytest.mark.parametrize(("stage", "order"), [("extract", STAGE_ONE), ("sequence_models", STAGE_TWO)])
def test_a_room_imports_only_rooms_below_it(stage, order):
    wrong = []
    for module, source in MODULES.items():
        own_stage, room = room_of(module)
        if own_stage == stage and room:
            below = order[: order.index(room) + 1]
            used = {m for m in imports_of(source) if m.startswith(f"{stage}.")}
            wrong += [f"{module} imports {m}" for m in sorted(used) if room_of(m)[1] not in {*below, "__version__"}]
    assert not wrong


def test_stage_two_sees_only_the_seam_of_stage_one():
    wrong = []
    for module, source in MODULES.items():
        stage, room = room_of(module)
        if stage == "sequence_models":
            used = {m for m in imports_of(source) if m.startswith("extract.")}
            allowed = {*SEAM, *WIDER_SEAM.get(room, ()), "__version__"}
            wrong += [f"{module} imports {m}" for m in sorted(used) if room_of(m)[1] not in allowed]
    assert not wrong


def test_the_report_takes_frames_through_one_function_of_decode():
    used = {m for module, source in MODULES.items() if ".report." in module for m in imports_of(source)}
    assert {m for m in used if m.startswith("extract.decode")} == {
        "extract.decode.frames",
        "extract.decode.frames.frames_of",
    }


def test_nothing_private_crosses_a_file():
    own = (*PACKAGES, "pipeline")
    wrong = [
        f"{module} imports {used}"
        for module, source in MODULES.items()
        for used in imports_of(source)
        if used.split(".")[0] in own and any(part.startswith("_") and part != "__version__" for part in used.split("."))
    ]
    assert not wrong


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_one_home(library):
    users = [name_of(s) for s in SOURCES if library in {m.split(".")[0] for m in imports_of(s)}]
    assert not [name for name in users if not name.startswith(HOMES[library])]


def test_nothing_opens_a_video_with_opencv():
    """It gives black pictures of interlaced video, decodes no AV1, and dies of a file name that is not UTF-8."""
    assert not [name_of(s) for s in SOURCES if "VideoCapture" in s.read_text(encoding="utf-8")]


def test_no_keras_at_the_top_of_a_quick_module():
    for module, source in MODULES.items():
        stage, room = room_of(module)
        if room in NO_KERAS.get(stage, ()):
            top = {m.split(".")[0] for m in imports_of(source, top_level_only=True)}
            assert not top & {"keras", "tensorflow"}, module


def test_tensorflow_is_never_imported_at_the_top_of_a_file():
    tops = {name_of(s): {m.split(".")[0] for m in imports_of(s, top_level_only=True)} for s in SOURCES}
    assert not [name for name, top in tops.items() if "tensorflow" in top]


def test_print_only_at_the_command_line():
    for source in SOURCES:
        calls = [n for n in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        prints = [n.lineno for n in calls if getattr(n.func, "id", "") == "print"]
        assert not prints or name_of(source) == "pipeline.py" or source.stem == "cli", (name_of(source), prints)


def test_there_is_no_import_cycle():
    graph = {m: {i for i in imports_of(s, top_level_only=True) if i in MODULES} for m, s in MODULES.items()}
    seen: dict[str, str] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if seen.get(module) != "done":
            for upstream in graph[module]:
                visit(upstream, (*path, module))
            seen[module] = "done"

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("arguments", (["--help"], ["train", "--help"], ["extract", "--help"], ["extrct"]))
def test_help_and_typos_never_wait_for_a_heavy_library(arguments):
    code = (
        "import sys, pipeline\n"
        "try: pipeline.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'tensorflow', 'keras', 'cv2', 'h5py', 'sklearn', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
