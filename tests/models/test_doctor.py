"""What is said of an installation is so, and a broken one is reported instead of breaking the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from oscine.cli import dispatch
from oscine.models import doctor
from oscine.models.doctor import Fact, examine, list_extras, list_libraries, required, shorten, try_audio, try_cache
from oscine.models.errors import OscineError


def by_name(facts: list[Fact]) -> dict[str, Fact]:
    return {fact.name: fact for fact in facts}


def test_a_whole_installation_works_and_fits_one_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert dispatch(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("oscine doctor: examines")
    assert lines[-1] == "all that oscine needs works"
    assert len(lines) <= 26
    assert max(map(len, lines)) <= 80


def test_json_has_the_same_facts(capsys):
    assert dispatch(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"oscine", "python", "libraries", "audio", "hub cache", "torch", "devices", "encoder"} <= {
        fact["name"] for fact in facts
    }
    assert all(fact["works"] for fact in facts)


def test_a_broken_torch_is_reported_and_the_rest_is_examined(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch.so: no such file')", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "oscine", "doctor"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, "COLUMNS": "1000"}, capture_output=True, text=True,
        encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "DOES NOT WORK: torch" in lines["torch"]
    assert "OSError: libtorch.so: no such file" in lines["torch"]
    assert "run: " in lines["torch"]
    assert "WAV, FLAC, OGG, MP3, resampling work" in lines["audio"]
    assert "devices" not in lines
    assert done.stdout.splitlines()[-1] == "1 of what oscine needs does not work: torch"


def test_a_format_that_cannot_be_written_or_reads_as_something_else_is_named(monkeypatch):
    real_write, real_read = soundfile.write, soundfile.read

    def write(path: str, *arguments: object, **how: object) -> None:
        if path.endswith("mp3"):
            raise soundfile.LibsndfileError(1)
        real_write(path, *arguments, **how)

    def read(path: str) -> object:
        samples, rate = real_read(path)
        return (samples[::2] if path.endswith("ogg") else samples), rate

    monkeypatch.setattr(soundfile, "write", write)
    monkeypatch.setattr(soundfile, "read", read)
    good, bad = list(try_audio())
    assert good.works
    assert good.text.startswith("WAV, FLAC, resampling work")
    assert not bad.works
    assert "OGG reads as something else, MP3 (" in bad.text


def test_an_error_in_one_check_hides_none_of_the_others(monkeypatch):
    def fails() -> None:
        raise RuntimeError("of\nseveral lines")

    monkeypatch.setattr(doctor, "try_audio", fails)
    monkeypatch.setattr(doctor, "try_torch", lambda: iter([Fact("torch", "loads")]))
    facts = by_name(list(examine()))
    assert facts["audio"] == Fact("audio", "RuntimeError: of several lines", works=False)
    assert facts["torch"].works


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda name: "" if name in ("optuna", "einops") else "1.0")
    extras = by_name(list(list_extras()))
    assert extras["[search]"].text.startswith('missing optuna: pip install "oscine[search]"')
    assert extras["[search]"].works, "what is optional may be missing"
    assert extras["[onnx]"].text == "installed; for oscine export, perch_v2, birdnet_v3 and onnx-file:"
    assert Fact("missing", "einops: install oscine again", works=False) in list(list_libraries())


def test_required_packages_are_those_that_are_declared():
    assert {"torch", "torchaudio", "soundfile"} <= set(required(""))
    assert "optuna" not in required("")
    assert required("search") == ["optuna"]


def test_the_cache_of_the_hub_is_tried(tmp_path, monkeypatch):
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "not there yet, writable; fetching is off by HF_HUB_OFFLINE" in next(try_cache()).text
    assert not cache.exists()
    (cache / "models--a--b").mkdir(parents=True)
    assert "1 models, writable" in next(try_cache()).text
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not next(try_cache()).works


def test_reports_do_not_say_whose_folder_it_is():
    assert shorten(Path.home() / "birds") == str(Path("~") / "birds")
    assert shorten(Path("/birds")) == str(Path("/birds"))


def test_a_pair_that_does_not_fit_is_the_one_line_of_the_guard(monkeypatch):
    def refuse() -> None:
        raise OscineError("torchaudio 2.11.1 does not load with torch 2.12.1")

    monkeypatch.setattr(doctor, "load_libraries", refuse)
    assert list(doctor.try_torch()) == [Fact("torch", "torchaudio 2.11.1 does not load with torch 2.12.1", works=False)]


@pytest.mark.parametrize("links", ["links", "texts", "folders"])
def test_it_says_how_the_package_lies_there(links, tmp_path, monkeypatch):
    package = tmp_path / "oscine"
    package.mkdir()
    {
        "links": lambda: (package / "models").symlink_to(tmp_path),
        "texts": lambda: (package / "models").write_text("../models", encoding="utf-8"),
        "folders": lambda: (package / "models").mkdir(),
    }[links]()
    monkeypatch.setattr(doctor.oscine, "__file__", str(package / "__init__.py"))
    text = next(doctor.describe_package()).text
    assert {"links": "with links", "texts": "as text files", "folders": "installed"}[links] in text
