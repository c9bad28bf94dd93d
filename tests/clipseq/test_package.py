"""What `import clipseq` gives, loads, prints, and says where something hides it."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
from places import ROOT

import clipseq
import pipeline
from clipseq.options import CompareOptions, ExtractOptions, TrainOptions
from extract.command_line import named_actions

HEAVY = ("tensorflow", "keras", "torch", "jax", "pandas", "sklearn", "scipy", "cv2", "h5py", "numpy")


def run_python(code, cwd, *, path=ROOT):
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True)


def test_importing_it_loads_nothing_heavy(tmp_path):
    code = f"import sys, clipseq; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code, tmp_path).stdout == "[]\n"


def test_opening_a_store_loads_no_neural_network(project):
    code = "import sys, clipseq; clipseq.open_store('features'); print([m for m in sys.modules if m in {}])"
    assert run_python(code.format(HEAVY[:6]), project).stdout == "[]\n"


@pytest.mark.parametrize("name", clipseq.__all__)
def test_every_public_name_is_there_and_described(name):
    assert inspect.getdoc(getattr(clipseq, name))


def test_all_names_are_listed_for_completion_and_no_others_exist():
    assert {*clipseq.__all__, "__version__"} <= set(dir(clipseq))
    with pytest.raises(AttributeError, match="module 'clipseq' has no attribute 'trian'"):
        clipseq.trian  # noqa: B018


def test_every_error_is_a_clipseq_error():
    errors = [getattr(clipseq, name) for name in clipseq.__all__ if name.endswith("Error")]
    assert len(errors) == 11 and all(issubclass(error, clipseq.ClipseqError) for error in errors)


@pytest.mark.parametrize("name", ("extract", "sequence_models"))
@pytest.mark.parametrize("form", ("{}.py", "{}/__init__.py"))
def test_a_file_of_the_user_that_hides_a_package_is_named(tmp_path, name, form):
    file = tmp_path / form.format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("print('the file of the user has run')")
    done = run_python("import clipseq", tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    said = f"ImportError: {file} hides the package '{name}' of clipseq: rename that file, or work in another folder"
    assert done.stderr.splitlines()[-1] == said


def test_a_folder_of_the_user_without_code_hides_nothing(tmp_path):
    (tmp_path / "extract").mkdir()
    assert run_python("import clipseq; print(clipseq.open_store)", tmp_path).returncode == 0


def test_the_command_works_beside_a_file_of_the_user_that_is_called_extract(tmp_path):
    """An installed command has its own folder in front of Python's path, not the working folder."""
    script = tmp_path / "bin" / "clipseq"
    script.parent.mkdir()
    script.write_text("import sys\nfrom pipeline import main\nsys.exit(main())")
    (tmp_path / "extract.py").write_text("print('the file of the user has run')")
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"clipseq {clipseq.__version__}\n")


def test_the_command_names_the_file_that_hides_it(tmp_path):
    (tmp_path / "extract.py").write_text("print('the file of the user has run')")
    done = run_python("import pipeline; pipeline.main(['--version'])", tmp_path)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"clipseq: {tmp_path / 'extract.py'} hides the package 'extract'")


@pytest.mark.parametrize(
    ("verb", "options", "explicit"),
    (
        ("extract", ExtractOptions, {"videos", "output", "log_format"}),
        ("train", TrainOptions, {"stores", "labels", "task", "run", "json"}),
        ("compare", CompareOptions, {"stores", "labels", "task", "run", "json"}),
    ),
)
def test_every_flag_is_an_option_and_no_option_is_more(verb, options, explicit):
    flags = named_actions(pipeline.make_parser()._subparsers._group_actions[0].choices[verb])
    assert options.__annotations__.keys() == flags.keys() - explicit


def test_the_estimator_has_the_defaults_of_training():
    from sequence_models.settings import TrainSettings

    defaults = {each.name: each.default for each in fields(TrainSettings)}
    own = {"validation_share": 0.2, "random_state": 0}
    assert clipseq.SequenceEstimator().get_params().items() <= (defaults | own).items()


USER_FILE = """
import clipseq
store = clipseq.open_store("features")
run = clipseq.train(store, "labels.csv", task="many-to-one", run="runs/first", hidden=32)
reveal_type(store)
reveal_type(store["a"].embeddings)
reveal_type(clipseq.extract("videos", "features").failed)
reveal_type(run)
reveal_type(run.metrics)
reveal_type(run.predict(store)[0].clip_id)
reveal_type(clipseq.compare("features", task="many-to-one", run="runs/all").models)
reveal_type(clipseq.SequenceEstimator(hidden=32).fit([], []))
clipseq.train(store, task="many-to-one", run="runs/first", hiden=32)
clipseq.trian
"""
SEEN = """
clipseq.store.FeatureStore
numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]
dict[str, str]
clipseq.runs.Run
dict[str, Any]
str
dict[str, list[str]]
clipseq.estimator.SequenceEstimator
"""


@pytest.mark.slow
def test_a_type_checker_sees_types_in_the_file_of_a_user(tmp_path):
    (tmp_path / "user.py").write_text(USER_FILE)
    checker = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", "--config-file="]
    env = {"PATH": "/usr/bin:/bin", "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([*checker, "user.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in lines if "Revealed" in line]
    assert [name.replace("builtins.", "") for name in revealed] == SEEN.split("\n")[1:-1]
    errors = [line for line in lines if ": error: " in line]
    assert len(errors) == 2 and 'argument "hiden"' in errors[0] and 'no attribute "trian"' in errors[1]
