"""The rooms' names: all there, found when they are asked for, and costing nothing before."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

ROOMS = ["models", "pretrain", "probe"]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_room_is_what_its_file_has(room: str) -> None:
    module = import_module(f"oscine.{room}")
    names = [(name, home) for home, names in module.homes.items() for name in names]
    assert sorted(name for name, _ in names) == sorted(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for name, home in names:
        assert getattr(module, name) is getattr(import_module(f"oscine.{room}.{home}"), name)


@pytest.mark.parametrize("room", ROOMS)
def test_a_name_that_is_not_there_is_the_usual_error(room: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'oscine.{room}' has no attribute 'nothing'"):
        import_module(f"oscine.{room}").nothing  # noqa: B018


def test_importing_the_rooms_and_asking_for_help_takes_no_torch() -> None:
    program = """
import sys
import oscine.models, oscine.pretrain, oscine.probe
from oscine.cli import dispatch
for arguments in ["--help"], ["--version"], ["embed", "--hepl"], ["chorus", "--sing"], ["shards", "in"], ["download"]:
    dispatch(arguments)
for command in "embed", "chorus", "models", "export", "shards", "merge", "download":
    try:
        dispatch([command, "--help"])
    except SystemExit as left:
        assert left.code == 0
assert not {"torch", "numpy", "pandas"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
