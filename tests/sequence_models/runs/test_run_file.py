"""A run as one file predicts like the run; what is wrong with a file of a stranger is one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile

import pytest
from places import ROOT

import pipeline
from extract.errors import RunError
from sequence_models.runs.run_file import run_folder

DATA = ROOT / "tests" / "data" / "schema-1"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A trained run, its store, and the file of the run."""
    home = tmp_path_factory.mktemp("run_file")
    for name in ("run_frames", "store"):
        shutil.copytree(DATA / name, home / name)
    path = home / "run_frames" / "run.json"
    path.write_text(path.read_text().replace("HOME", str(home)))
    assert pipeline.main(["export", str(home / "run_frames"), str(home / "run.clipseq")]) == 0
    return home


def changed(home, path, *, name=None, content=b"{}", leave_out=(), kind=0, how=zipfile.ZIP_STORED, manifest=True):
    """A copy of the run file with a member more, or fewer; its manifest tells the truth if `manifest`."""
    with zipfile.ZipFile(home / "run.clipseq") as file:
        members = {each: file.read(each) for each in file.namelist() if each not in leave_out}
    facts = json.loads(members.pop("manifest.json"))
    if name is not None:
        members[name] = content
        if manifest:
            facts["members"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for each in leave_out if manifest else ():
        facts["members"].pop(each)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps(facts))
        for each, data in members.items():
            info = zipfile.ZipInfo(each)
            info.external_attr = (kind << 16) if each == name else 0
            file.writestr(info, data, compress_type=how if each == name else zipfile.ZIP_STORED)
    return path


def reason(path):
    with pytest.raises(RunError) as error, run_folder(path):
        pass
    text = str(error.value)
    assert text.startswith(f"{path} is not a sound run file (") and "\n" not in text
    return text


@pytest.mark.slow
def test_a_run_file_predicts_what_the_run_predicts(home):
    for run, table in (("run_frames", "folder.csv"), ("run.clipseq", "file.csv")):
        command = ["predict", home / run, home / "store", "--output", home / table]
        assert pipeline.main([str(part) for part in command]) == 0
    assert (home / "file.csv").read_bytes() == (home / "folder.csv").read_bytes()


def test_the_same_run_gives_the_same_bytes_and_an_existing_file_is_kept(home, tmp_path, capsys):
    with run_folder(home / "run.clipseq") as folder:
        assert pipeline.main(["export", str(folder), str(tmp_path / "again.clipseq")]) == 0
    assert (tmp_path / "again.clipseq").read_bytes() == (home / "run.clipseq").read_bytes()
    assert pipeline.main(["export", str(home / "run_frames"), str(home / "run.clipseq")]) == 1
    assert "run.clipseq exists already" in capsys.readouterr().err


def test_a_run_file_holds_no_code_and_no_pickle(home):
    with zipfile.ZipFile(home / "run.clipseq") as file:
        assert {name.rpartition(".")[2] for name in file.namelist()} == {"json", "h5"}


@pytest.mark.parametrize(
    "name", ["../evil.json", "models/../../evil.json", "/etc/evil.json", "models\\..\\evil.json", "models/C:evil.json",
             "models/evil.pkl", "models/.json", "evil.py", "models/"],
)  # fmt: skip
def test_names_that_no_run_has_are_refused_and_nothing_is_written(home, tmp_path, name):
    assert "which no run has" in reason(changed(home, tmp_path / "x.clipseq", name=name))
    assert [path.name for path in tmp_path.iterdir()] == ["x.clipseq"]


def test_links_are_refused(home, tmp_path):
    path = changed(home, tmp_path / "x.clipseq", name="models/a.json", content=b"/etc/passwd", kind=stat.S_IFLNK)
    assert "models/a.json is a link or another special file" in reason(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(home, tmp_path):
    more = {"name": "models/a.json", "content": bytes(1 << 24), "how": zipfile.ZIP_DEFLATED}
    assert "models/a.json is compressed" in reason(changed(home, tmp_path / "x.clipseq", **more))


def test_members_that_claim_more_than_the_file_holds_are_refused(home, tmp_path):
    path = changed(home, tmp_path / "x.clipseq", name="models/a.json", content=b"{}")
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")  # the last entry of the directory is that of the last member
    raw[at + 20 : at + 28] = (1 << 30).to_bytes(4, "little") * 2
    path.write_bytes(raw)
    assert "larger than the file" in reason(path)


def test_a_member_that_changed_or_is_missing_or_not_named_is_named(home, tmp_path):
    weights = "models/final-seed0.weights.h5"
    more = {"name": weights, "content": b"other", "manifest": False}
    assert f"the digest of {weights} is wrong" in reason(changed(home, tmp_path / "a.clipseq", **more))
    assert f"it has no {weights}" in reason(changed(home, tmp_path / "b.clipseq", leave_out=(weights,), manifest=False))
    assert f"it has no {weights}" in reason(changed(home, tmp_path / "c.clipseq", leave_out=(weights,)))
    assert "it has no run.json" in reason(changed(home, tmp_path / "d.clipseq", leave_out=("run.json",)))
    more = {"name": "models/a.json", "manifest": False}
    assert "its manifest does not name 'models/a.json'" in reason(changed(home, tmp_path / "e.clipseq", **more))


def test_what_is_no_zip_or_a_torn_one_or_has_no_manifest_is_refused(home, tmp_path):
    (tmp_path / "a.clipseq").write_bytes(b"no zip")
    (tmp_path / "b.clipseq").write_bytes((home / "run.clipseq").read_bytes()[:-30])
    with zipfile.ZipFile(tmp_path / "c.clipseq", "w") as file:
        file.writestr("run.json", "{}")
    assert "not a zip file" in reason(tmp_path / "a.clipseq") and "not a zip" in reason(tmp_path / "b.clipseq")
    assert "it has no manifest.json" in reason(tmp_path / "c.clipseq")


def test_a_newer_format_says_to_upgrade(home, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.clipseq", "w") as file:
        file.writestr("manifest.json", json.dumps({"format": 2, "made_by": "clipseq 9", "members": {}}))
    assert "it has format 2, but this clipseq reads 1: upgrade clipseq" in reason(tmp_path / "a.clipseq")


def test_a_run_folder_stays_what_it_is(home):
    with run_folder(home / "run_frames") as folder:
        assert folder == home / "run_frames"


def test_a_format_and_a_file_do_not_go_together(home, tmp_path, capsys):
    for arguments in ([tmp_path / "x.clipseq", "--format", "keras"], [tmp_path / "x"]):
        assert pipeline.main(["export", str(home / "run_frames"), *map(str, arguments)]) == 2
        assert "or a file that ends in .clipseq without --format" in capsys.readouterr().err
