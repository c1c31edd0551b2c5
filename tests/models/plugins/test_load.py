"""A plugin is imported where it is allowed, under its own name; whatever is wrong with it is one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import Misuse, OscineError
from oscine.models.plugins import load
from oscine.models.plugins.load import allow_plugin
from oscine.models.zoo import create_model

ENCODER = "from oscine.models import BirdMAE\nclass Wren(BirdMAE):\n    pass\n"


@pytest.fixture(autouse=True)
def here(door: Iterator[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str = ENCODER) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_imported_by_its_own_name_once() -> None:
    write("deep/wrens.py")
    module = allow_plugin("deep/wrens.py")
    assert module.__name__ == "wrens"
    assert allow_plugin("deep/wrens.py") is module is sys.modules["wrens"]
    assert sys.path[-1] == str(Path("deep").resolve()), "behind all others, so that it hides no module"


def test_what_lies_beside_a_file_can_be_imported_by_it() -> None:
    write("deep/songs.py", "LENGTH = 3\n")
    write("deep/wrens.py", "from songs import LENGTH\n")
    assert vars(allow_plugin("deep/wrens.py"))["LENGTH"] == 3


@pytest.mark.parametrize(
    ("plugin", "text", "said"),
    [
        ("none.py", None, "--plugin none.py does not exist; expected FILE.py, or a MODULE"),
        (".", None, r"--plugin \. is a folder; expected FILE.py"),
        ("my-wrens.py", "", "--plugin my-wrens.py is imported by its name, and no module can be called 'my-wrens'; rename"),
        ("random.py", "", r"--plugin random.py is imported as random, which is another module, \S+random.py; rename"),
        ("wrens", "", "no module 'wrens'; did you mean --plugin wrens.py?"),
        ("wrens.songs", None, "no module 'wrens.songs'; give a FILE.py, or a MODULE that Python can import here"),
        ("no module", None, "no module 'no module'; give a FILE.py"),
    ],
)  # fmt: skip
def test_what_is_no_plugin_is_a_wrong_call(plugin: str, text: str | None, said: str) -> None:
    if text is not None:
        write(plugin if plugin.endswith(".py") else f"{plugin}.py", text)
    with pytest.raises(Misuse, match=f"^{said}"):
        allow_plugin(plugin)


def test_a_misspelt_plugin_is_told_which_file_is_near() -> None:
    write("wrens.py")
    with pytest.raises(Misuse, match=r"^--plugin wrans\.py does not exist; did you mean wrens\.py\?$"):
        allow_plugin("wrans.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import oscine\n\n1 / 0\n", r"ZeroDivisionError: division by zero \(wrens.py, line 3\)"),
        ("def song(\n", r"SyntaxError: '\(' was never closed \(wrens.py, line 1\)"),
        ("import sys\nsys.exit('bye')\n", r"SystemExit: bye \(wrens.py, line 2\)"),
        ("import no_such_thing\n", r"ModuleNotFoundError: No module named 'no_such_thing' \(wrens.py, line 1\)"),
    ],
)  # fmt: skip
def test_a_plugin_that_fails_says_why_and_where(text: str, said: str) -> None:
    write("wrens.py", text)
    with pytest.raises(OscineError, match=f"^the plugin wrens.py cannot be imported: {said}$"):
        allow_plugin("wrens.py")


def offer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an installed package offer a module, which lies here."""
    found = [EntryPoint("wrens", name, load.GROUP)]
    monkeypatch.setattr(load, "entry_points", lambda group: [one for one in found if one.group == group])
    monkeypatch.syspath_prepend(".")


def test_what_an_installed_package_offers_is_imported_for_a_name_that_is_not_known_and_said_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write("wrens.py", f"from oscine.models import register_encoder\n{ENCODER}"
                      "register_encoder(Wren, sizes={'wren_tiny': {'dim': 8, 'depth': 1, 'heads': 2}})\n")  # fmt: skip
    offer("wrens", monkeypatch)
    create_model("bird_mae_tiny", dim=8, heads=2, depth=1)
    assert "wrens" not in sys.modules
    with caplog.at_level("INFO", "oscine"):
        assert create_model("wren_tiny").dim == 8
    assert caplog.messages == ["loading the plugin wrens, which an installed package offers"]
    assert create_model("wrens:Wren", dim=8, heads=2, depth=1).depth == 1


def test_a_file_causes_no_import_of_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    write("wrens.py")
    offer("wrens", monkeypatch)
    with pytest.raises(
        OscineError, match="unknown architecture 'Wren'; it is of the module 'wrens', which is not oscine's"
    ):
        ENCODERS.of_file("Wren", "wrens", "config.json")
    assert "wrens" not in sys.modules


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_processes_that_are_started_find_a_plugin(start: str, tmp_path: Path) -> None:
    write("deep/wrens.py", "def sing(number):\n    return number + 1\n")
    write(
        "program.py",
        f"""
import multiprocessing
from oscine.models.plugins.load import allow_plugin

if __name__ == "__main__":
    wrens = allow_plugin("deep/wrens.py")
    with multiprocessing.get_context("{start}").Pool(1) as pool:
        print(pool.map(wrens.sing, [1, 2]))
""",
    )
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "[2, 3]\n", done.stderr
