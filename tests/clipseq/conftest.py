"""A small project of videos, labels and a store, made once, and the working folder of every test here."""

import pytest
from tiny_project import make_project


@pytest.fixture(scope="session")
def made_project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(made_project, monkeypatch):
    """The folder with videos/, labels.csv, segments.csv and features/; paths are relative to it."""
    monkeypatch.chdir(made_project)
    return made_project
