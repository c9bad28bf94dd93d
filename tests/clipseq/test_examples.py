"""Every example in the docstrings of public names, and every block of docs/python.md, runs."""

import doctest
import re
import shutil
from importlib.util import find_spec

import pytest
from places import ROOT

import clipseq

NAMES = [name for name in clipseq.__all__ if not name.endswith("Error")]
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def prepared(made_project):
    """The runs that examples open."""
    features, labels = made_project / "features", made_project / "labels.csv"
    clipseq.train(features, labels, task="many-to-one", run=made_project / "runs/first", updates=60).evaluate()
    quick = {"models": "meanpool,lstm", "updates": 9, "inner": 1}
    clipseq.compare(features, task="many-to-one", run=made_project / "runs/all", **quick)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_name_runs(project, prepared, name):
    store = clipseq.open_store("features")
    known = {"clipseq": clipseq, "X": [clip.embeddings for clip in store.values()]}
    known["y"] = [clip_id.split("/")[0] for clip_id in store]
    value, runner = getattr(clipseq, name), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    examples = [each for each in doctest.DocTestFinder().find(value, name, globs=known) if each.examples]
    assert examples
    for example in examples:
        said: list[str] = []
        assert not runner.run(example, out=said.append).failed, "".join(said)


def test_every_public_name_is_on_the_page():
    listed = PAGE[PAGE.index("## Every public name") :]
    assert [name for name in clipseq.__all__ if f"`{name}`" not in listed] == []
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    assert [name for name in NAMES if f"clipseq.{name}" not in code] == []


@pytest.mark.slow
def test_the_page_runs(made_project, tmp_path, monkeypatch):
    shutil.copytree(made_project / "videos", tmp_path / "videos")
    for name in ("labels.csv", "segments.csv"):
        shutil.copy(made_project / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    page, known = PAGE.replace('"videos", "features"', '"videos", "features", backbone="tiny"'), dict[str, object]()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        if "import torch" not in block or find_spec("torch"):
            exec(block, known)
    assert (tmp_path / "predictions.csv").exists()
