"""What another system would stumble over is not in the code: a half that can be read off it, and a half that is tried."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("models", "pretrain", "probe", "cli", "benchmarks", ".pkg")
TEXT = {"open", "read_text", "write_text"}


def opens_text_as_the_system_likes(call: ast.Call) -> bool:
    """Whether a call reads or writes text without saying in which encoding: on Windows that is not UTF-8."""
    name = (
        call.func.attr if isinstance(call.func, ast.Attribute) else "open" if ast.unparse(call.func) == "open" else ""
    )
    keys = {key.arg for key in call.keywords}
    if name not in TEXT or "encoding" in keys:
        return False
    values = [argument.value if isinstance(argument, ast.Constant) else None for argument in call.args]
    if any(isinstance(value, str) and "b" in value for value in values):
        return False
    if name == "open" and isinstance(
        call.func, ast.Attribute
    ):  # a path's takes a mode first, that of an archive a name
        return "fileobj" not in keys and all(value is not None and set(value) <= set("rwxat+") for value in values[:1])
    return True


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open(path)", True), ("path.open()", True), ("path.open('w', newline='')", True), ("path.read_text()", True),
        ("path.write_text(text)", True), ("open(path, 'rb')", False), ("path.open('ab')", False),
        ("path.open(encoding='utf-8')", False), ("archive.open('a.npy', 'w')", False), ("journal.open(plan, stamps)", False),
    ],
)  # fmt: skip
def test_an_encoding_that_is_left_to_the_system_is_seen(source, found):
    assert opens_text_as_the_system_likes(ast.parse(source).body[0].value) == found


def test_every_text_says_its_encoding():
    for path in [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and opens_text_as_the_system_likes(node):
                raise AssertionError(f"{path}:{node.lineno}: {ast.unparse(node)}")


@pytest.mark.slow
def test_a_clone_on_something_like_windows_runs_every_kind_of_command(tmp_path):
    if not (ROOT / ".git").exists() or not shutil.which("git") or os.name == "nt":
        pytest.skip("not a checkout, or Windows itself")
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "portable")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
