"""The names at the top of the package, and where it finds its rooms."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import oscine

ROOT = Path(__file__).resolve().parents[1]


def test_the_names_at_the_top_are_those_of_the_rooms():
    homes = {name: home for home, names in oscine.homes.items() for name in names}
    assert {*homes, "models", "pretrain", "probe"} == set(oscine.__all__)
    assert set(oscine.__all__) < set(dir(oscine))
    for name, home in homes.items():
        assert getattr(oscine, name) is getattr(import_module(f"oscine.{home}"), name)


def test_a_name_that_is_not_there_is_the_usual_error():
    with pytest.raises(AttributeError, match="module 'oscine' has no attribute 'nothing'"):
        oscine.nothing  # noqa: B018


def test_importing_the_package_takes_no_torch():
    program = "import sys, oscine; dir(oscine); assert not {'torch', 'numpy', 'pandas'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_rooms_are_found_where_git_writes_links_as_text(tmp_path):
    """As on Windows. The configurations are found there, too."""
    package = tmp_path / ".pkg" / "oscine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_bytes((ROOT / ".pkg" / "oscine" / "__init__.py").read_bytes())
    for room in ("models", "pretrain", "probe", "configs", "cli"):
        (package / room).write_text(f"../../{room}", encoding="utf-8")
        (tmp_path / room).symlink_to(ROOT / room)  # instead of a copy of all files
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / '.pkg')!r}); import oscine.models, oscine.cli.console.config; "
        "print(oscine.models.__file__); print(oscine.cli.console.config.find('pretrain', 'bat_tiny'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "models" / "__init__.py"),
        str(tmp_path / "configs" / "pretrain" / "bat_tiny.yaml"),
    ]
