"""Where weights came from, and what their owners state, is found out while it can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, PUBLISHED
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.base.provenance import NOT_KNOWN, NOT_STATED, SOURCE, Origin, read_origin
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.hub.origin import licence_on_the_hub, origin_of, refresh_licence
from oscine.models.zoo import create_model
from tests.hub_server import Fault, Hub, serving

TINY = {"dim": 24, "depth": 1, "heads": 2, "seconds": 1.0}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        yield hub


def tiny() -> Encoder:
    torch.manual_seed(0)
    return create_model("bat_tiny", **TINY)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: cc-by-nc-4.0\n---\n# a", "cc-by-nc-4.0"),
        (b"---\nlicense: other\nlicense_name: a\nlicense_link: https://a.example\n---\n", "a=https://a.example"),
        (b"---\nlicense: other\nlicense_name: My Terms\nlicense_link: LICENSE\n---\n", "My Terms={here}/LICENSE"),
        (b"---\nlicense: other\n---\n", "other"),
        (b"---\nlicense: unknown\n---\n", NOT_STATED),
        (b"---\nlicense:\n---\n", NOT_STATED),
        (b"---\ntags: [bird]\n---\n", NOT_STATED),
        (b"# a card without metadata", NOT_STATED),
        (None, NOT_STATED),
        (b"---\nlicense: [mit, gpl]\n---\n", NOT_KNOWN),
        (b"---\n{license: \n---\n", NOT_KNOWN),
        (b"---\nlicense: \xff\n---\n", NOT_KNOWN),
        (b"---\n- mit\n---\n", NOT_KNOWN),
        (
            b"---\na: &a {license: mit}\nb:" + 30 * b" {<<: *a, c:" + 30 * b"}" + b"\n---\n",
            NOT_KNOWN,
        ),  # merged again and again
        (b"---\nlicense: mit\ntags: &tags [bird]\nmore: *tags\n---\n", "mit"),
        (b"---\nlicense: 2026-13-45\n---\n", NOT_KNOWN),
        (b"---\nlicense: " + 9999 * b"[" + b"\n---\n", NOT_KNOWN),
    ],
)
def test_a_card_says_the_licence_or_the_log_why_it_is_not_known(hub, caplog, card, licence):
    commit = hub.add("robin/old", {"README.md": card} if card else {"other.md": b""})
    assert licence_on_the_hub("robin/old", commit) == licence.format(
        here=f"https://huggingface.co/robin/old/blob/{commit}"
    )
    said = [message for message in caplog.messages if message.startswith("the licence of robin/old is not known (its ")]
    assert [message.count("\n") for message in said] == ([0] if licence == NOT_KNOWN else [])


def test_without_a_network_it_is_not_known(hub, monkeypatch, caplog):
    commit = hub.add("robin/old", {"README.md": b"---\nlicense: mit\n---\n"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert licence_on_the_hub("robin/old", commit) == NOT_KNOWN
    assert "README.md of robin/old at" in caplog.text
    assert "is not in the cache" in caplog.text


def test_a_card_that_came_damaged_says_nothing(hub, caplog):
    commit = hub.add("robin/old", {"README.md": b"---\nlicense: mit\n---\n"})
    hub.faults.append(Fault("GET /robin/old/resolve/", flip=13))
    assert licence_on_the_hub("robin/old", commit) == NOT_KNOWN
    assert "README.md has git hash" in caplog.text


@pytest.mark.parametrize(("card", "licence"), [(b"---\nlicense: mit\n---\n", "mit"), (None, NOT_STATED)])
def test_what_was_fetched_once_is_known_without_a_network(hub, monkeypatch, tmp_path, card, licence):
    files = {path.name: path.read_bytes() for path in save_pretrained(tiny(), tmp_path / "saved").iterdir()}
    commit = hub.add("robin/old", files | ({"README.md": card} if card else {}))
    create_model("hf-hub:robin/old")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    for loaded in (create_model("hf-hub:robin/old"), create_model("hf-hub:robin/old", revision=commit)):
        assert loaded.origin.licence == licence
        assert read_origin(save_pretrained(loaded, tmp_path / "offline")) == loaded.origin
    assert not hub.requests


def test_what_could_not_be_read_is_asked_again_when_it_is_needed(hub, tmp_path, monkeypatch):
    files = {path.name: path.read_bytes() for path in save_pretrained(tiny(), tmp_path / "saved").iterdir()}
    hub.add("robin/old", files | {"README.md": b"---\nlicense: mit\n---\n"})
    hub.faults.append(Fault("README.md", status=403, times=2))
    loaded = create_model("hf-hub:robin/old")
    assert loaded.origin.licence == NOT_KNOWN
    hub.faults.clear()
    again = load_pretrained(save_pretrained(loaded, tmp_path / "again"))
    assert refresh_licence(origin_of(again)) == loaded.origin._replace(licence="mit")
    assert refresh_licence(None) is None


def test_an_official_checkpoint_is_known_by_its_row(hub, monkeypatch):
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "bat_base", ARCHITECTURES["bat_base"]._replace(config=TINY))
    repository = "lrauch/BAT-vit-b16-pretrainedAS2M"
    commit = hub.add(repository, {"model.safetensors": save(dict(tiny().state_dict()))})
    origin = origin_of(create_model("bat_base", pretrained=True))
    assert (origin.model, origin.licence) == ("bat_base.as2m", "MIT")
    assert (origin.repository, origin.revision, origin.trained) == (repository, commit, False)


def test_a_file_is_known_by_its_hash_or_by_the_name_that_is_given(tmp_path, monkeypatch):
    for name in ("eat_base", "sslam_base"):
        monkeypatch.setitem(checkpoints.ARCHITECTURES, name, ARCHITECTURES[name]._replace(config=TINY))
    file = tmp_path / "mine.safetensors"
    encoder = create_model("eat_base")
    file.write_bytes(save(dict(encoder.state_dict())))

    def found(name: str) -> tuple[str, str]:
        origin = create_model(name, checkpoint_path=file).origin
        return origin.model, origin.licence

    assert found("eat_base") == ("mine.safetensors", NOT_KNOWN), "nobody says that it is the official one"
    assert found("eat_base.as2m") == ("eat_base.as2m", "MIT"), "whose hash is not known"
    with pytest.raises(OscineError, match=r"mine\.safetensors has sha256 \w{64}, sslam_base\.as2m has 8ec670"):
        found("sslam_base.as2m")
    hashed = [row._replace(sha256=file_hash(file)) if row.name == "sslam_base.as2m" else row for row in PUBLISHED]
    monkeypatch.setattr(checkpoints, "PUBLISHED", tuple(hashed))
    for name in ("eat_base", "eat_base.as2m", "sslam_base"):
        assert found(name) == ("sslam_base.as2m", "MIT"), name


def test_a_file_of_weights_is_hashed_once_also_where_its_hash_is_known(tmp_path, monkeypatch):
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "sslam_base", ARCHITECTURES["sslam_base"]._replace(config=TINY))
    file = tmp_path / "sslam.safetensors"
    file.write_bytes(save(dict(create_model("sslam_base").state_dict())))
    hashed = [row._replace(sha256=file_hash(file)) if row.name == "sslam_base.as2m" else row for row in PUBLISHED]
    monkeypatch.setattr(checkpoints, "PUBLISHED", tuple(hashed))
    asked: list[Path] = []
    for place in ("zoo.create", "zoo.checks", "hub.onnx_data"):
        monkeypatch.setattr(f"oscine.models.{place}.file_hash", lambda path: asked.append(path) or file_hash(path))
    for name in ("sslam_base", "sslam_base.as2m"):
        assert create_model(name, checkpoint_path=file).origin.sha256 == file_hash(file)
    assert asked == [file, file]


def test_a_saved_folder_says_whose_weights_it_holds(tmp_path):
    official = create_model("bird_mae_tiny", pretrained=True)
    folder = save_pretrained(official, tmp_path / "saved")
    assert read_origin(folder) == official.origin
    assert official.origin.fingerprint == fingerprint(official)
    assert origin_of(load_pretrained(folder)) == official.origin
    (folder / SOURCE).unlink()
    assert create_model(f"local-dir:{folder}").origin.model == "bird_mae_tiny.esc10", "by their hash, if that was lost"


def test_weights_are_trained_further_once_one_of_them_has_changed(tmp_path):
    encoder = create_model("bird_mae_tiny", pretrained=True)
    assert not origin_of(encoder).trained
    first = deepcopy(encoder)
    with torch.no_grad():
        first.cls_token[0, 0, 0] += 1e-6
    second = load_pretrained(save_pretrained(first, tmp_path / "first"))
    assert origin_of(second) == encoder.origin._replace(trained=True)
    second.load_state_dict(encoder.state_dict())
    assert read_origin(save_pretrained(second, tmp_path / "second")) == encoder.origin, "they are what they were"


def test_a_folder_that_is_written_over_keeps_nothing_of_the_one_before(tmp_path):
    save_pretrained(create_model("bird_mae_tiny", pretrained=True), tmp_path)
    save_pretrained(tiny(), tmp_path)
    assert not (tmp_path / SOURCE).exists()
    assert create_model(f"local-dir:{tmp_path}").origin is None


@pytest.mark.parametrize("trained", [False, True])
def test_a_folder_without_a_fingerprint_says_itself_whether_it_was_trained(tmp_path, trained):
    folder = save_pretrained(tiny(), tmp_path / "saved")
    written = Origin("eat_base.as2m", "eat.pt", 64 * "a", "MIT", trained=trained)
    content = {key: value for key, value in written._asdict().items() if key != "fingerprint"}
    (folder / SOURCE).write_text(json.dumps(content))
    encoder = load_pretrained(folder)
    assert origin_of(encoder).trained == trained
    torch.nn.init.zeros_(encoder.cls_token)
    assert origin_of(encoder).trained


def test_random_weights_are_nobodys():
    assert origin_of(tiny()) is None


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / SOURCE).write_text("{}")
    with pytest.raises(OscineError, match=r"source.json.* convert or train again"):
        read_origin(tmp_path)
    (tmp_path / SOURCE).unlink()
    (tmp_path / SOURCE).mkdir()
    with pytest.raises(OscineError, match=r"source.json cannot be read \(Is a directory\)"):
        read_origin(tmp_path)
