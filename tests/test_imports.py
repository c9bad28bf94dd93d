"""The layout is the data flow: what may import what (read from the sources), and what stays out of a quick command."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "pipeline.py", *sorted(ROOT.glob("extract/*.py")), *sorted(ROOT.glob("sequence_models/*.py"))]
SEAM = ("records", "errors", "files", "tables", "typed_json", "terminal", "machine", "store", "chatter", "wording")
BOTH_STAGES = ("raw_models", "export", "live", "report")
HOMES = {
    "h5py": ("extract/store",),
    "av": ("extract/decode",),
    "ray": ("extract/cluster",),
    "tensorflow": ("extract/engines", "sequence_models/export"),
    "matplotlib": ("sequence_models/report", "extract/show"),
    "jinja2": ("sequence_models/report",),
}
NO_KERAS = {
    "extract": ("videos", "sampling", "records", "store", "errors", "cli", "plan", "decode", "transforms"),
    "sequence_models": ("labels", "clips", "splits", "metrics", "cli", "settings", "runs"),
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


def test_stage_one_knows_nothing_of_stage_two():
    for source in SOURCES:
        if source.parent.name == "extract":
            used = [m for m in imports_of(source) if m.startswith(("sequence_models", "pipeline"))]
            assert not used, f"{name_of(source)} imports {used}"


def test_stage_two_sees_only_the_seam_of_stage_one():
    for source in SOURCES:
        if source.parent.name == "sequence_models" and not source.stem.startswith(BOTH_STAGES):
            used = {m.split(".")[1] for m in imports_of(source) if m.startswith("extract.")}
            assert not [m for m in used if not m.startswith(SEAM)], f"{name_of(source)} imports {used}"


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_one_home(library):
    users = [name_of(s) for s in SOURCES if library in {m.split(".")[0] for m in imports_of(s)}]
    assert not [name for name in users if not name.startswith(HOMES[library])]


def test_nothing_opens_a_video_with_opencv():
    """It gives black pictures of interlaced video, decodes no AV1, and dies of a file name that is not UTF-8."""
    assert not [name_of(s) for s in SOURCES if "VideoCapture" in s.read_text(encoding="utf-8")]


def test_no_keras_at_the_top_of_a_quick_module():
    for source in SOURCES:
        if source.stem.startswith(NO_KERAS.get(source.parent.name, ())):
            top = {m.split(".")[0] for m in imports_of(source, top_level_only=True)}
            assert not top & {"keras", "tensorflow"}, name_of(source)


def test_tensorflow_is_never_imported_at_the_top_of_a_file():
    tops = {name_of(s): {m.split(".")[0] for m in imports_of(s, top_level_only=True)} for s in SOURCES}
    assert not [name for name, top in tops.items() if "tensorflow" in top]


def test_print_only_at_the_command_line():
    for source in SOURCES:
        calls = [n for n in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        prints = [n.lineno for n in calls if getattr(n.func, "id", "") == "print"]
        assert not prints or name_of(source) == "pipeline.py" or source.stem == "cli", (name_of(source), prints)


def test_there_is_no_import_cycle():
    modules = {name_of(s)[:-3].replace("/", "."): s for s in SOURCES}
    graph = {m: {i for i in imports_of(s, top_level_only=True) if i in modules} for m, s in modules.items()}
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
        "print([m for m in ('numpy', 'tensorflow', 'keras', 'cv2', 'h5py', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
