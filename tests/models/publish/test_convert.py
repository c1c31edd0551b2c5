"""Official checkpoints become folders in oscine's layout, with their licence, and can be published from there."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save, save_file

from oscine.cli.console.command import call
from oscine.cli.hub.convert import convert
from oscine.cli.hub.publish import main as publish_main
from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, PUBLISHED
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import ONNX
from oscine.models.publish.convert import convert_checkpoint
from oscine.models.zoo import create_model
from tests.hub_server import serving
from tests.models.hub.test_weights import ON_THE_HUB
from tests.tiny_encoders import TINY_CONVNEXT

main = partial(call, convert)

TINY = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every architecture of the zoo in a size for tests, with no hash that only the real file has."""
    for name, architecture in ARCHITECTURES.items():
        config = TINY_CONVNEXT if architecture.encoder == "ConvNeXt" else TINY
        monkeypatch.setitem(checkpoints.ARCHITECTURES, name, architecture._replace(config=config))
    rows = tuple(row._replace(sha256=None) for row in PUBLISHED)
    monkeypatch.setattr(checkpoints, "PUBLISHED", rows)


def seeded(name: str) -> Encoder:
    torch.manual_seed(0)
    return create_model(name)


def same(one: Encoder, other: Encoder) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def official(name: str, folder: Path) -> tuple[Encoder, Path]:
    """An encoder and a file of its weights as the authors wrap them."""
    encoder = seeded(name)
    state = dict(encoder.state_dict())
    if layout := ON_THE_HUB.get(type(encoder).__name__):
        save_file(layout(state), folder / "official.safetensors")
        return encoder, folder / "official.safetensors"
    torch.save({"model": state, "epoch": 3}, folder / "official.pt")
    return encoder, folder / "official.pt"


@pytest.mark.parametrize("row", [row for row in PUBLISHED if not row.file.endswith(ONNX)], ids=lambda row: row.name)
def test_every_official_checkpoint_becomes_a_folder_that_loads(row, tmp_path, capsys):
    encoder, file = official(row.name, tmp_path)
    main([row.name, str(tmp_path / "out"), "--checkpoint", str(file)])
    assert same(create_model(f"local-dir:{tmp_path / 'out'}"), encoder)
    source = json.loads((tmp_path / "out/source.json").read_text())
    assert source["model"] == row.name
    assert source["licence"] == row.licence
    assert source["sha256"] == file_hash(file)
    assert source["repository"] is None, "nobody knows where the file came from"
    assert f"licence {row.licence}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"out", file.name}


def test_of_several_encoders_in_a_file_the_one_under_the_prefix_is_converted(tmp_path):
    encoder = seeded("beats_base")
    state = {f"teacher.{name}": tensor for name, tensor in encoder.state_dict().items()}
    others = {f"student.{name}": tensor + 1 for name, tensor in encoder.state_dict().items()}
    torch.save({"model": state | others}, tmp_path / "both.pt")
    main(["beats_base.as2m", str(tmp_path / "out"), "--checkpoint", str(tmp_path / "both.pt"), "--prefix", "teacher."])
    assert same(create_model(f"local-dir:{tmp_path / 'out'}"), encoder)


def test_without_a_file_it_is_fetched_and_its_commit_is_noted(tmp_path, monkeypatch):
    encoder = seeded("bat_base")
    with serving(tmp_path / "home", monkeypatch) as hub:
        commit = hub.add("lrauch/BAT-vit-b16-pretrainedAS2M", {"model.safetensors": save(dict(encoder.state_dict()))})
        convert_checkpoint("bat_base", tmp_path / "out")
    source = json.loads((tmp_path / "out/source.json").read_text())
    assert (source["repository"], source["revision"]) == ("lrauch/BAT-vit-b16-pretrainedAS2M", commit)
    assert same(create_model(f"local-dir:{tmp_path / 'out'}"), encoder)


def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *licence: str) -> str:
    """The card of a converted checkpoint that was published."""
    tmp_path.mkdir(exist_ok=True)
    _, file = official(name, tmp_path)
    convert_checkpoint(name, tmp_path / "out", file)
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens["hf_robin"] = "robin"
        monkeypatch.setenv("HF_TOKEN", "hf_robin")
        assert hub.url == constants.ENDPOINT
        publish_main([str(tmp_path / "out"), "robin/converted", *licence])
        files = hub.repositories["robin/converted"].commits[hub.repositories["robin/converted"].refs["v1"]]
        assert files["source.json"] == (tmp_path / "out/source.json").read_bytes()
        return files["README.md"].decode()


def test_the_licence_is_carried_to_the_hub(tmp_path, monkeypatch, capsys):
    card = published(tmp_path, monkeypatch, "eat_base.as2m")
    assert "\nlicense: mit\n" in card
    assert "Their source states: MIT." in card
    assert "| taken from | what is said to be `eat_base.as2m`: `official.safetensors`, sha256 `" in card
    assert "arxiv:2401.03497" in card
    assert "| AudioSet-2M | not stated |" in card
    assert "eat_base.as2m of models/checkpoints.py stays as it is: no hash tells" in capsys.readouterr().out


def test_of_two_statements_the_stricter_is_carried(tmp_path, monkeypatch):
    assert "\nlicense: cc-by-nc-4.0\n" in published(tmp_path, monkeypatch, "audio_mae_base.as2m")


def test_another_licence_than_the_authors_is_refused(tmp_path, monkeypatch):
    with pytest.raises(
        OscineError, match=r"licence 'apache-2.0', but beats_base.as2m is under MIT; leave the licence out"
    ):
        published(tmp_path, monkeypatch, "beats_base.as2m", "--licence", "apache-2.0")


def test_where_the_authors_state_none_the_publisher_must(tmp_path, monkeypatch):
    with pytest.raises(OscineError, match="licence not given; choose one"):
        published(tmp_path, monkeypatch, "bird_mae_base.xcl")
    given = ["--licence", "cc-by-nc-4.0"]
    with pytest.raises(
        OscineError, match=r"bird_mae_base.xcl have stated none, which allows nothing; say that its owners"
    ):
        published(tmp_path / "refused", monkeypatch, "bird_mae_base.xcl", *given)
    card = published(tmp_path / "again", monkeypatch, "bird_mae_base.xcl", *given, "--relicence")
    assert "The weights: cc-by-nc-4.0. Their source states: not stated." in card


def test_a_checkpoint_that_does_not_fit_leaves_nothing(tmp_path):
    _, file = official("bat_base.as2m", tmp_path)
    with pytest.raises(OscineError, match="does not fit BirdMAE"):
        convert_checkpoint("bird_mae_base", tmp_path / "out", file)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(tmp_path):
    _, file = official("bat_base.as2m", tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(OscineError, match="out is not empty; name another folder"):
        convert_checkpoint("bat_base", tmp_path / "out", file)


def test_a_file_that_is_not_the_official_one_is_refused(tmp_path, monkeypatch):
    _, file = official("sslam_base.as2m", tmp_path)
    monkeypatch.setattr(checkpoints, "PUBLISHED", PUBLISHED)
    with pytest.raises(OscineError, match=r"has sha256 .*, sslam_base.as2m has 8ec670.*; take the official file"):
        convert_checkpoint("sslam_base", tmp_path / "out", file)


@pytest.mark.parametrize("name", ["bat_tiny", "bat", "hf-hub:robin/bird"])
def test_a_name_without_an_official_checkpoint_is_refused(tmp_path, name):
    with pytest.raises(OscineError, match=r"no official checkpoint .*; there are audio_mae_base.as2m, "):
        convert_checkpoint(name, tmp_path / "out", tmp_path / "file.pt")


def test_a_misspelt_name_is_told_which_one_is_meant(tmp_path):
    for name, meant in {"convnext_base.xlc": "convnext_base.xcl", "bat_bas": "bat_base"}.items():
        with pytest.raises(OscineError, match=rf"no official checkpoint '{name}'; did you mean {meant}\?"):
            convert_checkpoint(name, tmp_path / "out")


def convert_and_die(out: Path, file: Path, renaming: int) -> bool:
    """Convert in another process, which dies before its so-manieth renaming; whether it came so far."""
    child = os.fork()
    if not child:
        left = [renaming]

        def hook(event: str, args: object) -> None:
            if event == "os.rename":
                left[0] -= 1
                if not left[0]:
                    os._exit(9)

        sys.addaudithook(hook)
        convert_checkpoint("bat_base", out, file)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("there", [False, True])
def test_killed_at_any_moment_a_folder_is_whole_or_not_there(tmp_path, there):
    _, file = official("bat_base.as2m", tmp_path)
    renaming = 1
    while True:
        out = tmp_path / f"out{renaming}"
        if there:
            out.mkdir()
        if not convert_and_die(out, file, renaming):
            break
        assert not out.exists() or not any(out.iterdir())
        convert_checkpoint("bat_base", out, file)  # the same call does it after all
        assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "source.json"}
        renaming += 1
    assert renaming > 3, "weights, config, source, folder"
