"""What a killed call leaves in the folder of a run: the earlier run, until the new one is whole."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from oscine.models.replace_outputs import ASIDE, MOVED
from oscine.probe.results.run_files import REPORT, RUN, SCORES, SEARCH, recover, replacing_run
from tests.forked import ended, started


def write_run(folder: Path, name: str, files: tuple[str, ...] = (SCORES, REPORT)) -> None:
    for file in files:
        (folder / file).write_text(json.dumps({"oscine": "", "settings": {}, "task": name}))


def replaced_and_killed(folder: Path, at: str) -> None:
    """Killed just before a file would be deleted, or after the scores alone are written."""
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name == at:
            kill_self()
        unlink(path, missing_ok)

    Path.unlink = killed  # type: ignore[method-assign]
    with replacing_run(folder, searched=False):
        if at == SCORES:
            write_run(folder, "new", (SCORES,))
            kill_self()
        write_run(folder, "new")


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("at", "stands"), [(MOVED, "new"), (SCORES, "old")])
def test_killed_once_its_report_is_there_the_new_run_stands_and_else_the_earlier_one(
    at: str, stands: str, tmp_path: Path
) -> None:
    write_run(tmp_path, "old")
    (tmp_path / SEARCH).mkdir()
    ended(started(replaced_and_killed, tmp_path, at))
    assert list(tmp_path.glob(f"{ASIDE}*/{MOVED}"))
    recover(tmp_path)
    left = {path.name: path for path in tmp_path.iterdir()}
    assert left.keys() == {SCORES, REPORT} | ({SEARCH} if stands == "old" else set())
    assert {json.loads(left[file].read_text())["task"] for file in RUN if file in left} == {stands}
