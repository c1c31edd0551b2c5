"""Encoders from the Hub, over HTTP from a server on loopback that speaks its protocol."""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, close_session, constants
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import save

from oscine.models import checkpoints
from oscine.models.checkpoints import Architecture, Published
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import folder as hub_room
from oscine.models.hub.download import fetch
from oscine.models.hub.encoder_files import ONNX
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model, fetch_weights
from tests.forked import Program
from tests.hub_server import Fault, Hub, environment, serving, sha256
from tests.models.hub.test_weights import ON_THE_HUB
from tests.tiny_encoders import TINY_CONVNEXT

TINY = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}
REPOSITORY, NAME = "robin/tiny", "hf-hub:robin/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(tmp_path / "home", monkeypatch) as hub:
        yield hub


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Published:
    """A row of the zoo that stands for weights small enough for a test."""
    row = Published("wren_tiny.dawn", "a garden", "model.safetensors", "MIT", checkpoints.LAYOUT, "wren/weights")
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "wren_tiny", Architecture("BAT", TINY, "none", 1, 16_000, 1.0))
    monkeypatch.setattr(checkpoints, "PUBLISHED", (*checkpoints.PUBLISHED, row))
    return row


class Plain(BaseHTTPRequestHandler):
    """Any web server: it has an answer to everything and knows nothing of commits."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def seeded(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return create_model("bat_tiny", **TINY)


def files_of(encoder: Encoder, folder: Path) -> dict[str, bytes]:
    """An encoder as oscine saves it."""
    save_pretrained(encoder, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights_of(encoder: Encoder) -> dict[str, bytes]:
    """An encoder as its authors publish it: weights, and a config.json of another library."""
    return {"model.safetensors": save(dict(encoder.state_dict())), "config.json": b'{"model_type": "bird"}'}


def same(one: Encoder, other: Encoder) -> bool:
    waveform = 0.1 * torch.randn(2, one.samples, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pairs = zip(one(waveform), other(waveform), strict=True)
        return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def complaint(name: str, **arguments: object) -> str:
    with pytest.raises(OscineError) as caught:
        create_model(name, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_encoder_is_loaded_by_its_repositorys_name(hub, tmp_path):
    encoder = seeded()
    files = files_of(encoder, tmp_path / "saved")
    commit = hub.add(REPOSITORY, files)
    loaded = create_model(NAME)
    assert same(encoder, loaded)
    assert not loaded.training
    assert loaded.provenance == {
        "model": NAME,
        "repository": REPOSITORY,
        "revision": commit,
        "sha256": sha256(files["model.safetensors"]),
    }


def test_a_revision_is_a_commit_a_branch_or_a_tag(hub, tmp_path):
    old, new = seeded(0), seeded(1)
    first = hub.add(REPOSITORY, files_of(old, tmp_path / "old"))
    hub.repositories[REPOSITORY].refs["v1"] = first
    second = hub.repositories[REPOSITORY].commit(files_of(new, tmp_path / "new"))
    for loaded in (create_model(NAME, revision=first), create_model(NAME, revision="v1"), create_model(f"{NAME}@v1")):
        assert same(loaded, old)
        assert loaded.provenance["revision"] == first
    for loaded in (create_model(NAME), create_model(NAME, revision="main"), create_model(f"{NAME}@{second}")):
        assert same(loaded, new)
        assert loaded.provenance["revision"] == second


def test_config_and_weights_are_of_one_commit_also_while_somebody_publishes(hub, tmp_path, monkeypatch):
    old = seeded(0)
    wider = create_model("bat_tiny", **TINY | {"dim": 64})
    hub.add(REPOSITORY, files_of(old, tmp_path / "old"))
    read = hub_room.read_config

    def read_and_publish(path: Path) -> Encoder:
        hub.repositories[REPOSITORY].commit(files_of(wider, tmp_path / "new"))
        return read(path)

    monkeypatch.setattr(hub_room, "read_config", read_and_publish)
    assert same(create_model(NAME), old)


def test_what_is_in_the_cache_is_not_fetched_again(hub, tmp_path):
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    create_model(NAME)
    hub.requests.clear()
    assert same(create_model(NAME), encoder)
    assert {method for method, _ in hub.requests} == {"HEAD"}


def test_without_a_network_the_cache_is_enough(hub, tmp_path, monkeypatch):
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    create_model(NAME)
    hub.requests.clear()
    assert same(create_model(NAME, local_files_only=True), encoder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(create_model(NAME), encoder)
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.shutdown()
    hub.server_close()
    assert same(create_model(NAME), encoder)


def test_published_weights_are_loaded_by_name_and_by_repository(hub, row):
    encoder = seeded()
    files = weights_of(encoder)
    commit = hub.add(row.repository, files)
    by_name = [create_model(name, pretrained=True) for name in ("wren_tiny.dawn", "wren_tiny")]
    assert not any("config.json" in path for _, path in hub.requests), "the row says what config.json would"
    for loaded in (
        *by_name,
        create_model("hf-hub:wren/weights"),
        create_model(f"hf-hub:wren/weights@{commit}"),
    ):
        assert same(encoder, loaded)
        assert loaded.provenance == {
            "model": "wren_tiny.dawn",
            "repository": "wren/weights",
            "revision": commit,
            "sha256": sha256(files["model.safetensors"]),
        }
    assert create_model("wren_tiny.dawn", pretrained=True, drop_path=0.1).config["drop_path"] == 0.1


def test_a_repository_of_a_row_is_what_it_says_itself_where_oscine_has_published_it(hub, row, tmp_path, monkeypatch):
    first, wider = seeded(0), create_model("bat_tiny", **TINY | {"dim": 64})
    commit = hub.add(row.repository, files_of(first, tmp_path / "first"))
    monkeypatch.setattr(checkpoints, "PUBLISHED", (row._replace(revision=commit),))
    second = hub.repositories[row.repository].commit(files_of(wider, tmp_path / "second"))
    hub.repositories[row.repository].refs["v2"] = second
    for loaded in (create_model("hf-hub:wren/weights"), create_model("hf-hub:wren/weights", revision="v2")):
        assert same(loaded, wider)
        assert (loaded.provenance["model"], loaded.provenance["revision"]) == ("hf-hub:wren/weights", second)
    assert fetch_weights("hf-hub:wren/weights@v2").revision == second
    assert same(create_model("wren_tiny", pretrained=True), first)
    assert same(create_model(f"hf-hub:wren/weights@{commit}"), first)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(create_model("hf-hub:wren/weights"), wider)
    assert same(create_model("wren_tiny", pretrained=True), first)


def test_a_repository_of_a_row_goes_by_the_row_also_offline_and_never_because_the_hub_is_out_of_order(
    hub, row, monkeypatch
):
    encoder = seeded()
    hub.add(row.repository, weights_of(encoder))
    hub.faults.append(Fault("config.json", status=500, times=1000))
    assert complaint("hf-hub:wren/weights").startswith("the Hub answered 500 for config.json of wren/weights")
    create_model("wren_tiny", pretrained=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(create_model("hf-hub:wren/weights"), encoder)
    assert same(create_model("hf-hub:wren/weights", local_files_only=True), encoder)


# Of ONNX files see test_onnx_files.py.
TENSORS = [row.name for row in checkpoints.PUBLISHED if row.repository and not row.file.endswith(ONNX)]


@pytest.mark.parametrize("name", TENSORS)
def test_every_row_is_loaded_from_a_file_in_its_published_layout(hub, monkeypatch, name):
    [row] = [row for row in checkpoints.PUBLISHED if row.name == name]
    architecture = checkpoints.ARCHITECTURES[row.architecture]
    config = TINY_CONVNEXT if architecture.encoder == "ConvNeXt" else TINY
    monkeypatch.setitem(checkpoints.ARCHITECTURES, row.architecture, architecture._replace(config=config))
    torch.manual_seed(0)
    encoder = create_model(name)
    state = dict(encoder.state_dict())
    weights = save(ON_THE_HUB.get(architecture.encoder, dict)(state))
    monkeypatch.setattr(checkpoints, "PUBLISHED", (row._replace(sha256=sha256(weights)),))
    hub.add(row.repository, {row.file: weights, "config.json": b"{}", "modeling.py": b"raise SystemExit"})
    assert same(create_model(name, pretrained=True), encoder)
    assert same(create_model(f"hf-hub:{row.repository}"), encoder)
    assert not any(path.endswith(".py") for _, path in hub.requests)


def test_published_weights_must_fit_to_the_last_tensor(hub, row):
    state = dict(seeded().state_dict())
    norm = state.pop("pre_norm.bias")
    hub.add(row.repository, {"model.safetensors": save(state)})
    assert "1 missing (pre_norm.bias)" in complaint("wren_tiny", pretrained=True)
    hub.add(row.repository, {"model.safetensors": save(state | {"pre_norm.bias": norm, "tail": torch.ones(1)})})
    assert "1 unexpected (tail)" in complaint("wren_tiny", pretrained=True)


def test_nothing_but_safetensors_is_taken_from_a_strangers_repository(hub, tmp_path):
    files = files_of(seeded(), tmp_path / "saved")
    pickled = pickle.dumps({"a": 1})
    hub.add(REPOSITORY, {"config.json": files["config.json"], "pytorch_model.bin": pickled})
    assert "robin/tiny has no file model.safetensors at " in complaint(NAME)
    hub.add(REPOSITORY, files | {"model.safetensors": pickled})
    assert "model.safetensors is no intact safetensors file" in complaint(NAME)
    assert not any(path.endswith(".bin") for _, path in hub.requests)


def test_a_strangers_config_is_refused_before_its_weights_are_fetched(hub):
    hub.add(REPOSITORY, weights_of(seeded()))
    assert "config.json: no 'architecture' with its 'config', as oscine saves them" in complaint(NAME)
    assert not any("model.safetensors" in path for _, path in hub.requests)


def test_a_config_of_a_newer_oscine_is_named_as_such(hub, tmp_path):
    files = files_of(seeded(), tmp_path / "saved")
    config = json.loads(files["config.json"])
    config["config"]["rotary"] = True
    hub.add(REPOSITORY, files | {"config.json": json.dumps(config | {"oscine_version": "99.1.0"}).encode()})
    message = complaint(NAME)
    assert "config.json is of oscine 99.1.0, this is 0." in message
    assert message.endswith("; update oscine")
    hub.repositories[REPOSITORY].commit({"config.json": json.dumps(config).encode()})
    assert "update oscine" not in complaint(NAME), "one of this version is simply wrong"


def test_a_file_with_another_hash_than_the_hub_says_is_refused_until_it_is_fetched_again(hub, tmp_path):
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    hub.faults.append(Fault("GET /store/", flip=5000))
    message = complaint(NAME)
    assert "robin/tiny/model.safetensors has sha256" in message
    assert message == complaint(NAME), "it stays refused"
    damaged = message.partition("delete ")[2].partition(" and fetch it again")[0]
    Path(damaged).unlink()
    assert same(create_model(NAME), encoder)


@pytest.mark.parametrize("flip", [0, 40, 200])
def test_a_config_with_another_hash_than_the_hub_says_is_refused_until_it_is_fetched_again(hub, tmp_path, flip):
    """Most flips leave a config.json that can be read, of an encoder that hears something else."""
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    hub.faults.append(Fault("GET /robin/tiny/resolve/.*config.json", flip=flip))
    message = complaint(NAME)
    assert message.startswith("robin/tiny/config.json has git hash")
    assert message == complaint(NAME), "it stays refused"
    assert not any("model.safetensors" in path for _, path in hub.requests)
    Path(message.partition("delete ")[2].removesuffix(" and fetch it again")).unlink()
    assert same(create_model(NAME), encoder)


def test_a_file_with_another_hash_than_the_zoo_knows_is_refused(hub, row, monkeypatch):
    right, wrong = weights_of(seeded(0)), weights_of(seeded(1))
    known = sha256(right["model.safetensors"])
    monkeypatch.setattr(checkpoints, "PUBLISHED", (row._replace(sha256=known),))
    commit = hub.add(row.repository, wrong)
    message = complaint("wren_tiny.dawn", pretrained=True)
    assert f"expected {known}: it was damaged or changed" in message
    assert "give it as it is (checkpoint_path, --checkpoint)" in message
    assert same(create_model("wren_tiny.dawn", pretrained=True, revision=commit), seeded(1)), "asked for by its commit"
    hub.add(row.repository, right)
    assert same(create_model("wren_tiny.dawn", pretrained=True), seeded(0))


def test_without_the_hub_the_file_of_a_row_can_be_given(hub, row, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = complaint("wren_tiny.dawn", pretrained=True)
    assert (
        "`oscine download` it where there is a network and copy the cache (HF_HOME); or give model.safeten" in message
    )
    assert ": checkpoint_path=FILE in Python, --checkpoint FILE with oscine embed and export; oscine conv" in message


def test_a_row_is_fetched_at_the_revision_that_it_is_pinned_to(hub, row, monkeypatch):
    commit = hub.add(row.repository, weights_of(seeded(0)))
    hub.repositories[row.repository].commit(weights_of(seeded(1)))
    monkeypatch.setattr(checkpoints, "PUBLISHED", (row._replace(revision=commit),))
    assert same(create_model("wren_tiny", pretrained=True), seeded(0))
    assert same(create_model("wren_tiny", pretrained=True, revision="main"), seeded(1))
    for name in ("wren_tiny@main", "wren_tiny.dawn@main"):
        encoder = create_model(name, pretrained=True)
        assert same(encoder, seeded(1))
        assert encoder.provenance["model"] == "wren_tiny.dawn"
        assert fetch_weights(name).revision == hub.repositories[row.repository].refs["main"]
    assert "wren_tiny has no revision 'main': revisions are the Hub's" in complaint("wren_tiny@main")
    assert "wren_tiny@main and revision='v2' differ" in complaint("wren_tiny@main", pretrained=True, revision="v2")
    assert "no model 'wrem_tiny'; did you mean 'wren_tiny'?" in complaint("wrem_tiny@main", pretrained=True)


def test_a_download_whose_connection_drops_ends_whole(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what came is kept in pieces of that size
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    hub.faults.append(Fault("GET /store/", cut_after=4096))
    try:
        loaded = create_model(NAME)
    except OscineError:  # huggingface_hub before 2 leaves it to the caller to try again
        loaded = create_model(NAME)
    assert same(loaded, encoder)
    assert [method for method, path in hub.requests if "/store/" in path].count("GET") == 2
    assert not hub.faults


def test_a_download_that_never_ends_well_is_given_up_and_can_be_begun_again(hub, tmp_path):
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    hub.faults.append(Fault("GET /store/", cut_after=0, times=100))
    message = complaint(NAME)
    store = hub.store_url.removesuffix("/store")
    assert message.startswith(f"no connection to {store} for model.safetensors of robin/tiny (")
    assert "; check the network and try again, or `oscine download` it where there is one, copy the cache (" in message
    assert message.endswith(", see HF_HOME) and set HF_HUB_OFFLINE=1")
    hub.faults.clear()
    assert same(create_model(NAME), encoder)


def test_a_hub_that_was_busy_for_a_moment_is_asked_again(hub, tmp_path):
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    hub.faults.append(Fault("HEAD /robin", status=503))
    hub.faults.append(Fault("GET /store/", status=429, headers={"Retry-After": "1"}))
    assert same(create_model(NAME), encoder)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "the Hub answered 500 for config.json of robin/tiny; try again later"),
        (429, "the Hub answered 429 for config.json of robin/tiny; those were too many requests: wait a few minutes"),
        (403, "the Hub answered 403 for config.json of robin/tiny; the token may not read it"),
    ],
)
def test_an_answer_that_stays_an_error_is_said_in_one_line(hub, tmp_path, status, words):
    hub.add(REPOSITORY, files_of(seeded(), tmp_path / "saved"))
    hub.faults.append(Fault("robin/tiny", status=status, times=1000))
    assert words in complaint(NAME)


def test_no_network_is_said_in_one_line(hub, caplog):
    caplog.set_level(logging.INFO, logger="oscine")
    hub.shutdown()
    hub.server_close()
    assert complaint(NAME).startswith(f"no connection to {hub.url} for config.json of robin/tiny (")
    tries = [message for message in caplog.messages if "does not answer" in message]
    assert tries[0] == "the Hub does not answer for config.json of robin/tiny: try 2"


def test_where_the_hub_has_no_address_nothing_is_waited_for_and_the_cache_serves(hub, tmp_path, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    encoder, waits = seeded(), list[float]()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    create_model(NAME)
    hub.shutdown()
    hub.server_close()
    close_session()  # with its connection
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(time, "sleep", waits.append)
    assert same(create_model(NAME), encoder)
    assert complaint("hf-hub:robin/another").startswith(
        f"no connection to {hub.url} for config.json of robin/another (Name or service not known); check the network"
    )
    assert sum(waits) <= 1


def test_a_server_that_is_no_hub_is_said_in_one_line(hub, monkeypatch):
    hub.add(REPOSITORY, {"config.json": b"{}"})
    monkeypatch.setattr(hub, "RequestHandlerClass", Plain)
    assert "does not answer as the Hub does; check HF_ENDPOINT" in complaint(NAME)


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_not_in_the_cache_is_named_when_fetching_is_off(hub, tmp_path, monkeypatch, offline):
    hub.add(REPOSITORY, files_of(seeded(), tmp_path / "saved"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    message = complaint(NAME, local_files_only=not offline)
    assert message.startswith(f"config.json of robin/tiny at main is not in the cache ({constants.HF_HUB_CACHE})")
    assert ("unset HF_HUB_OFFLINE" in message) == offline
    assert "`oscine download`" in message
    assert hub.requests == []


def test_a_repository_that_is_not_there_is_named(hub):
    assert complaint(NAME) == (
        "the Hub shows no repository robin/tiny: check the name; if it is private, `hf auth login`, or set HF_TOKEN: "
        "there is no token yet"
    )


@pytest.mark.parametrize("name", ["a/b/c", "", "robin/ti ny", "robin/..", "/robin"])
def test_a_name_that_no_repository_can_have_is_refused(hub, name):
    assert complaint(f"hf-hub:{name}") == f"{name!r} is not the name of a repository; expected owner/name"
    assert hub.requests == []


def test_a_revision_that_is_not_there_is_named(hub, tmp_path):
    hub.add(REPOSITORY, files_of(seeded(), tmp_path / "saved"))
    assert f"robin/tiny has no revision v9; give a branch, tag or commit of {hub.url}" in complaint(f"{NAME}@v9")


def test_a_private_repository_opens_to_its_owners_token_alone_and_tokens_are_not_told(hub, tmp_path, monkeypatch):
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"), private=True)
    hub.tokens |= {"hf_secret": "robin", "hf_other": "wren"}
    assert "there is no token yet" in complaint(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_forged")
    message = complaint(NAME)
    assert "401" in message
    assert "the token is not accepted" in message
    assert "hf_forged" not in message
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    message = complaint(NAME)
    assert (
        message
        == "the Hub shows no repository robin/tiny: check the name; if it is private, your token does not open it"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert same(create_model(NAME), encoder)
    assert "hf_secret" not in complaint("hf-hub:robin/nothing")
    assert "your token does not open it" in complaint("hf-hub:robin/nothing")


def test_a_gated_repository_says_where_to_ask(hub, tmp_path, monkeypatch):
    hub.add(REPOSITORY, files_of(seeded(), tmp_path / "saved"), gated=True)
    hub.tokens["hf_wren"] = "wren"
    assert f"only to those whom its owners let in: ask at {hub.url}/robin/tiny; `hf auth login`" in complaint(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_wren")
    assert "your token does not open it" in complaint(NAME)


def test_a_cache_that_cannot_be_written_is_named(hub, tmp_path, monkeypatch):
    hub.add(REPOSITORY, files_of(seeded(), tmp_path / "saved"))
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    message = complaint(NAME)
    assert message.startswith(f"config.json of robin/tiny could not be fetched into {tmp_path}/file (")
    assert "make room or set HF_HOME" in message


def load_and_say(arguments: list[str]) -> None:
    try:
        print(create_model(*arguments).cls_token.sum().item())
    except OscineError as error:
        print(error)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files there")
@pytest.mark.parametrize(("limit", "file"), [(100, "config.json"), (20_000, "model.safetensors")])
def test_a_disk_that_fills_up_is_said_in_one_line_and_leaves_nothing_broken(hub, tmp_path, limit, file):
    """No file of that process can grow beyond the limit, as where a disk or a quota ends."""
    encoder = seeded()
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    home = tmp_path / "home"  # of the hub

    def limit_files() -> None:
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    told = Program([NAME], work=load_and_say, before=limit_files).end().out
    assert told.startswith(f"{file} of robin/tiny could not be fetched into {home}/hub (")
    assert told.endswith("; make room or set HF_HOME, and try again\n")
    assert told.count("\n") == 1
    shown = [path.name for path in home.glob("hub/models--*/snapshots/*/*")]
    assert shown == ([] if file == "config.json" else ["config.json"])
    assert Program([NAME], work=load_and_say).end().out == f"{encoder.cls_token.sum().item()}\n"


def test_the_small_hub_answers_what_else_its_client_can_ask(hub, tmp_path):
    """What no command of ours needs today; the tests of publishing go through all the rest."""
    hub.tokens |= {"hf_secret": "robin", "hf_other": "wren"}
    files = {"README.md": b"---\nlicense: mit\n---\n", "a/b.txt": b"words", "a/c.safetensors": b"numbers"}
    for path, content in files.items():
        (tmp_path / "up" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / path).write_bytes(content)
    api = HfApi(token="hf_secret")
    api.create_repo(REPOSITORY, private=True)
    commit = api.upload_folder(repo_id=REPOSITORY, folder_path=tmp_path / "up").oid
    api.create_tag(REPOSITORY, tag="v1")
    api.create_branch(REPOSITORY, branch="aside")
    assert set(api.list_repo_files(REPOSITORY)) == {".gitattributes", *files}
    told = {info.path: info for info in api.get_paths_info(REPOSITORY, [*files, "nowhere"], revision="v1")}
    assert told.keys() == files.keys()
    assert (told["a/b.txt"].size, told["a/b.txt"].lfs) == (5, None)
    assert told["a/c.safetensors"].lfs.sha256 == sha256(b"numbers")
    refs = api.list_repo_refs(REPOSITORY)
    assert {ref.ref: ref.target_commit for ref in refs.branches} == {
        "refs/heads/main": commit,
        "refs/heads/aside": commit,
    }
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", commit)]
    assert [model.id for model in api.list_models(author="robin")] == [REPOSITORY]
    assert list(HfApi(token="hf_other").list_models(author="robin")) == []
    shot = Path(api.snapshot_download(REPOSITORY, revision="v1"))
    assert {path: (shot / path).read_bytes() for path in files} == files
    api.delete_folder("a", REPOSITORY)
    assert set(api.list_repo_files(REPOSITORY)) == {".gitattributes", "README.md"}
    (tmp_path / "up/README.md").write_bytes(b"---\nlicense: mine\n---\n")
    with pytest.raises(ValueError, match="one of the known ones"):
        api.upload_folder(repo_id=REPOSITORY, folder_path=tmp_path / "up")
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token="hf_other").delete_repo(REPOSITORY)
    api.delete_repo(REPOSITORY)
    assert not api.repo_exists(REPOSITORY)


def test_a_file_in_a_folder_has_its_commit_too(hub):
    commit = hub.add(REPOSITORY, {"deep/down/run.ckpt": b"weights", "small.txt": b"words"})
    for file in ("deep/down/run.ckpt", "small.txt"):
        fetched = fetch(REPOSITORY, file)
        assert fetched.revision == commit
        assert fetched.sha256 == sha256(fetched.path.read_bytes())


def test_weights_are_fetched_without_being_loaded(hub, row, tmp_path):
    encoder = seeded()
    hub.add(row.repository, weights_of(encoder))
    hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    for name in ("wren_tiny", "wren_tiny.dawn", "hf-hub:wren/weights", NAME):
        fetched = fetch_weights(name)
        assert fetched.sha256 == sha256(fetched.path.read_bytes())
    (fetched.path.parent / "config.json").read_text()


def test_another_process_loads_offline_what_was_downloaded_ahead(hub, tmp_path):
    encoder = seeded()
    commit = hub.add(REPOSITORY, files_of(encoder, tmp_path / "saved"))
    hub.repositories[REPOSITORY].refs["v1"] = commit
    names = [NAME, f"{NAME}@v1"]

    def run(code: str, **more: str) -> list[str]:
        settings = os.environ | environment(hub, tmp_path / "other") | more
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout.split()

    fetch = "from oscine.models.zoo import fetch_weights"
    assert run(f"{fetch}; print(*[fetch_weights(name).revision for name in {names}])") == [commit, commit]
    hub.shutdown()
    hub.server_close()
    load = "import torch; from oscine.models import create_model; torch.manual_seed(0)"
    say = f"[print(e.provenance['revision'], e.cls_token.sum().item()) for e in map(create_model, {names})]"
    assert run(f"{load}; {say}", HF_HUB_OFFLINE="1") == 2 * [commit, str(encoder.cls_token.sum().item())]
