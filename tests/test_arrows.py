"""Which room may know which: models <- pretrain, models <- probe, and cli above all of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# what a room may import of the others; `oscine` itself has the version, and names of models and probe that it fetches
ARROWS = {
    "models": {"models"},
    "pretrain": {"models", "pretrain"},
    "probe": {"models", "probe"},
    "cli": {"models", "pretrain", "probe", "cli"},
}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file, by its full dotted name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; import oscine.{path.parent.name}"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_the_rooms_below_it(room):
    assert sources(room)
    for path in sources(room):
        rooms = {name.split(".")[1] for name in imports(path) if name.startswith("oscine.")} & ARROWS.keys()
        assert rooms <= ARROWS[room], f"{path} imports {rooms - ARROWS[room]}"


def test_only_cli_reads_yaml():
    readers = {"yaml", "jsonargparse", "omegaconf", "ruamel"}
    card = ROOT / "models" / "origin.py"  # what a card on the Hub states is YAML, too
    for path in [path for room in ARROWS.keys() - {"cli"} for path in sources(room) if path != card]:
        assert not {name.split(".")[0] for name in imports(path)} & readers, path


def test_one_file_alone_imports_what_may_not_fit_the_installed_torch():
    """It says in one line what does not fit; whoever imports timm or torchaudio without it gets their traceback."""
    for path in [path for room in ARROWS for path in sources(room) if path != ROOT / "models" / "compat.py"]:
        assert not {name.split(".")[0] for name in imports(path)} & {"timm", "torchaudio", "torchvision"}, path


PRIVATE = {  # of others, to the one file that may name it
    r"huggingface_hub[\w.]*\._|_GLOBAL_CLIENT|_CACHED_NO|import .*\b_http\b|repocard|is_xet_"
    r"|hub\.utils\.sha|hub\.errors import .*\bHTTPError": "models/hub_compat.py",
    r"_default_config_files_group|\._action_groups|\._actions\b|_option_string_actions|_typehint": "cli/compat.py",
}


@pytest.mark.parametrize("names", PRIVATE)
def test_what_other_libraries_keep_for_themselves_is_named_in_one_file(names):
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ARROWS
        for path in sources(room)
        if re.search(names, path.read_text())
    }
    assert found == {PRIVATE[names]}


def test_rooms_are_imported_by_their_full_names():
    """`import models` works from the root of a checkout, because of the current folder, and nowhere else."""
    rooms = ARROWS.keys() | {"configs"}
    for path in [path for room in [*ARROWS, "tests", "benchmarks", ".pkg/oscine"] for path in sources(room)]:
        assert not {name.split(".")[0] for name in imports(path)} & rooms, path
