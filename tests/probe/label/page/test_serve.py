"""One server a folder of labels, and its key in no command line."""

from __future__ import annotations

import stat
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from oscine.cli import dispatch
from oscine.probe.label.page.browser import open_page
from tests.probe.label.page.conftest import Served, Wood


def test_a_second_server_on_the_same_labels_is_refused_and_says_who_has_them(
    serve: Callable[..., Served], wood: Wood, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels"
    call = f"label page {wood.table} --recordings {wood.folder} --classes {wood.birds} --labels {labels}".split()
    served = serve()
    assert dispatch([*call, "--name", "ben", "--port", "0", "--no-browser"]) == 1
    said = capsys.readouterr().err
    assert f"process {served.process.pid} on " in said
    assert f"is asking for labels in {labels}; wait for it, or open its page, under another name" in said
    served.kill()
    serve("--name", "ben")  # whom the killed one does not keep out


def test_the_browser_is_opened_by_a_file_that_its_owner_alone_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with open_page("http://127.0.0.1:8765/?key=secret&who=a", tmp_path):
        path = tmp_path / "open_page.html"
        assert opened == [path.as_uri()]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "url=http://127.0.0.1:8765/?key=secret&amp;who=a" in path.read_text()
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_page("http://127.0.0.1/", tmp_path / "gone"):
        assert "cannot be written (No such file or directory); open the address by hand" in caplog.text
