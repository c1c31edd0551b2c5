"""Which room may know which, and inside a room which folder; how large a folder may be; what stays inside one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
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


# Inside a room imports run from a later line to an earlier one, or stay on their line.
FOLDERS = {
    "models": [
        "", "text", "plugins", "audio", "recordings", "encoders/frontends", "encoders/base", "encoders", "hub", "embed",
        "zoo", "export", "publish",
    ],
    "pretrain": ["", "data", "run"],
    "probe": [
        "heads", "tasks", "features", "metrics", "fit", "deploy", "results", "finetune", "report",
        "label", "label/strategies", "label/votes", "label/simulation", "label/loop", "label/queue", "label/page", "run",
    ],
    "cli": ["console", "encode", "pretrain", "label", "probe", "hub", ""],
}  # fmt: skip
ABOVE = {"checkpoints.py", "hear_api.py", "doctor.py"}  # files beside the folders of models that use them
MOST = 16  # Python files in a folder


def place(path: Path) -> int:
    """The line of a file's folder in FOLDERS."""
    room, *inside = path.relative_to(ROOT).parts
    folder = "/".join(inside[:-1])
    return FOLDERS[room].index("zoo" if room == "models" and not folder and path.name in ABOVE else folder)


def own_imports(path: Path) -> Iterator[tuple[Path, str]]:
    """The files of the same room that a file imports from, and each name that it takes."""
    room = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"oscine.{room}"):
            continue
        base = ROOT.joinpath(*node.module.split(".")[1:])
        for alias in node.names:
            places = (base.with_suffix(".py"), base / f"{alias.name}.py", base / "__init__.py")
            if file := next((place for place in places if place.is_file()), None):
                yield file, alias.name


@pytest.mark.parametrize("room", ARROWS)
def test_imports_inside_a_room_run_one_way(room):
    for path in [path for path in sources(room) if path.name != "__init__.py"]:
        up = [f"{file}: {name}" for file, name in own_imports(path) if place(file) > place(path)]
        assert not up, f"{path} imports from above: {up}"


@pytest.mark.parametrize("room", ARROWS)
def test_a_private_name_stays_in_its_folder(room):
    for path in sources(room):
        out = [
            f"{file}: {name}" for file, name in own_imports(path) if name.startswith("_") and file.parent != path.parent
        ]
        assert not out, f"{path} imports {out}"


@pytest.mark.parametrize("room", ARROWS)
def test_no_folder_is_a_crowd_and_each_says_what_is_inside(room):
    for folder in {path.parent for path in sources(room)}:
        assert len(list(folder.glob("*.py"))) <= MOST, folder
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_only_cli_parses_arguments_and_one_file_knows_yaml():
    """The record of a run, `settings.yaml`, is read beside the run; what a command line means, by cli alone."""
    for path in [path for room in ARROWS.keys() - {"cli"} for path in sources(room)]:
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"jsonargparse", "omegaconf", "ruamel"}, path
        assert "yaml" not in names or path == ROOT / "models" / "text" / "yaml_text.py", path


def test_one_file_alone_imports_what_may_not_fit_the_installed_torch():
    """It says in one line what does not fit; whoever imports timm or torchaudio without it gets their traceback."""
    for path in [path for room in ARROWS for path in sources(room) if path != ROOT / "models" / "timm_parts.py"]:
        assert not {name.split(".")[0] for name in imports(path)} & {"timm", "torchaudio", "torchvision"}, path


PRIVATE = {  # of others, to the one file that may name it
    r"huggingface_hub[\w.]*\._|_GLOBAL_CLIENT|_CACHED_NO|import .*\b_http\b|repocard|is_xet_"
    r"|hub\.utils\.sha|hub\.errors import .*\bHTTPError": "models/compat.py",
    r"_dynamo|\._foreach_|_step_supports": "models/compat.py",
    r"_default_config_files_group|\._action_groups|\._actions\b|_option_string_actions|_typehint": "cli/console/compat.py",
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
