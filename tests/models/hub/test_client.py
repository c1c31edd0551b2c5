"""A server that cannot be trusted, or keeps one waiting: refused in one line, before anything is written or waited for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import close_session, constants, file_download, get_session, hf_hub_download, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http as hub_http

from oscine.models import compat
from oscine.models.errors import OscineError
from oscine.models.hub import client as hub_client
from oscine.models.hub.download import fetch
from oscine.models.hub.folder import save_pretrained
from oscine.models.publish.upload import push_to_hub
from oscine.models.zoo import create_model
from tests.hub_server import Fault, Hub, environment, serving

REPOSITORY, NAME, TOKEN = "robin/tiny", "hf-hub:robin/tiny", "hf_a_secret_of_robin"
TINY = {"dim": 24, "depth": 1, "heads": 2, "seconds": 1.0}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[Hub]:
    """With an encoder that oscine has published."""
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny", **TINY), tmp_path / "saved")
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens[TOKEN] = "robin"
        hub.add(REPOSITORY, {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})
        yield hub


def complaint() -> str:
    with pytest.raises(OscineError) as caught:
        create_model(NAME)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def store_of(hub: Hub) -> str:
    """The host that has the large files."""
    return hub.store_url.removesuffix("/store")


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("etag", ["../../../../evil", "/tmp/evil", "notahash", "A" * 40, "0" * 41, "..", ""])
@pytest.mark.parametrize("header", ["ETag", "X_Linked_ETag"])
def test_what_is_fetched_is_called_by_a_hash_or_refused_before_it_is_written(hub, tmp_path, header, etag):
    before = written(tmp_path)
    where = "HEAD .*config.json" if header == "ETag" else "HEAD .*model.safetensors"
    hub.faults.append(Fault(where, claims={header: f'"{etag}"'}, times=9))
    assert f"names '\"{etag}\"' as its hash, expected 40 or 64 hexadecimal digits" in complaint()
    made = {path for path in written(tmp_path) - before if path.partition("/")[0] != "home"}
    assert not made
    assert not [path for path in written(tmp_path / "home") if "evil" in path or "notahash" in path]


@pytest.mark.parametrize("commit", ["../../../pwn", "pwn", "0" * 41, ""])
@pytest.mark.parametrize("status", [None, 404])
def test_a_commit_that_is_none_is_refused_also_where_the_file_is_not_there(hub, tmp_path, status, commit):
    said = {"X_Repo_Commit": commit}
    there = Fault("HEAD .*config.json", claims=said, times=9)
    gone = Fault("HEAD .*config.json", 404, {"X-Error-Code": "EntryNotFound"}, claims=said, times=9)
    hub.faults.append(gone if status else there)
    assert f"names the commit {commit!r}, expected 40 hexadecimal digits" in complaint()
    assert not [path for path in written(tmp_path) if "pwn" in path]


@pytest.mark.parametrize("size", ["50000000000000", "-1", "many", "9" * 5000, "\u00b2"])
def test_a_size_that_makes_no_sense_is_refused(hub, size):
    hub.faults.append(Fault("HEAD .*model.safetensors", claims={"X_Linked_Size": size}, times=9))
    assert f"says that it has {size[:30]} bytes, expected a number up to 100,000,000,000" in complaint()


def test_a_revision_that_changes_between_two_files_is_named_as_that(hub):
    hub.faults.append(Fault("HEAD .*model.safetensors", claims={"X_Repo_Commit": "1" * 40}, times=9))
    said = complaint()
    assert said.startswith(f"{REPOSITORY} changed while it was fetched: model.safetensors is of the commit {'1' * 40}")


def test_a_blob_that_is_not_called_by_its_hash_is_not_taken_as_verified(hub):
    cached = fetch(REPOSITORY, "config.json").path
    blob = cached.resolve()
    for other in (blob.with_name("notahash"), blob.parents[1] / blob.name):
        other.write_bytes(blob.read_bytes())
        cached.unlink()
        cached.symlink_to(other)
        with pytest.raises(
            OscineError, match="expected a blob that is called by its hash; delete it and fetch it again"
        ):
            fetch(REPOSITORY, "config.json", hub.repositories[REPOSITORY].refs["main"])


BUSY = [
    (429, {"Retry-After": "99999"}), (503, {"Retry-After": "86400"}), (500, {"Retry-After": "9" * 12}),
    (429, {"RateLimit": '"api";r=0;t=99999'}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers"), BUSY)
@pytest.mark.parametrize("where", ["HEAD .*config.json", "GET .*config.json", "GET /store/"])
def test_a_hub_that_asks_to_wait_a_day_is_not_waited_for(hub, pauses, status, headers, where):
    hub.faults.append(Fault(where, status, headers, times=99))
    said = complaint()
    assert f"{store_of(hub) if 'store' in where else 'the Hub'} answered {status} for " in said
    assert "s; oscine waits 300 s in all: try again after that time" in said
    assert sum(pauses) < 60


@pytest.mark.parametrize(("status", "headers"), BUSY)
def test_publishing_has_the_same_patience(hub, pauses, monkeypatch, status, headers):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults.append(Fault("POST /api/repos/create", status, headers, times=99))
    with pytest.raises(OscineError, match=f"the Hub answered {status} for publishing robin/new and asks to wait"):
        push_to_hub(create_model("bat_tiny", **TINY), "robin/new", "mit")
    assert sum(pauses) < 60


def test_short_waits_are_said_and_count_together(hub, pauses, caplog):
    caplog.set_level(logging.INFO, "oscine")
    hub.faults.append(Fault("GET /store/", 429, {"Retry-After": "7"}))
    create_model(NAME)
    assert f"{store_of(hub)} answered 429 for model.safetensors of robin/tiny, and asks to wait 7 s" in caplog.text
    hub.faults.append(Fault("GET .*config.json", 429, {"Retry-After": "200"}, times=2))
    files = hub.repositories[REPOSITORY].commits[hub.repositories[REPOSITORY].refs["main"]]
    hub.repositories[REPOSITORY].commit({"config.json": files["config.json"] + b" "})
    assert "asks to wait 200 s; oscine waits 300 s in all" in complaint()


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(hub, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "oscine")
    monkeypatch.setattr(hub_client, "STALLED", 0.5)
    monkeypatch.setattr(hub_client, "EVERY", 0.2)
    hub.faults.append(Fault("GET .*config.json", drip=0.02, times=9))
    begun = time.monotonic()
    assert " bytes of config.json of robin/tiny in 1 s; check the network and try again" in complaint()
    assert time.monotonic() - begun < 5
    assert "fetching config.json of robin/tiny: " in caplog.text, "it is said meanwhile"


@pytest.mark.parametrize(
    ("status", "words"),
    [(503, "try again later"), (403, "refused"), (401, "refused")],
)
def test_whoever_answered_is_named_and_a_token_is_the_hubs_matter_alone(hub, status, words):
    """Large files are another host's, to which the client sends no token. "refused" is what the server here says."""
    hub.faults.append(Fault("GET /store/", status, times=99))
    assert complaint() == f"{store_of(hub)} answered {status} for model.safetensors of robin/tiny; {words}"


@pytest.fixture
def xet(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Large files are announced as hf_xet's, which is installed."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(file_download, "is_xet_available", lambda: True)
    announced = {
        "X_Xet_Hash": "ab" * 32,
        "X_Xet_Refresh_Route": f"{hub.url}/api/models/{REPOSITORY}/xet-read-token/main",
    }
    hub.faults.append(Fault("HEAD .*model.safetensors", claims=announced, times=99))
    return hub


def test_files_of_xet_come_over_http_where_oscine_fetches_them_and_for_others_as_before(xet, tmp_path):
    create_model(NAME)
    assert not [path for _, path in xet.requests if "xet" in path]
    assert file_download.is_xet_available(), "outside"
    with pytest.raises(HfHubHTTPError, match="xet-read-token"):  # which the server here does not have
        hf_hub_download(REPOSITORY, "model.safetensors", cache_dir=tmp_path / "theirs")


def test_files_of_xet_have_the_bound_for_a_server_that_sends_next_to_nothing(xet, monkeypatch):
    monkeypatch.setattr(hub_client, "STALLED", 0.5)
    xet.faults.append(Fault("GET /store/", drip=0.02, times=9))
    begun = time.monotonic()
    said = complaint()
    assert said.startswith(f"{store_of(xet)} sent ")
    assert said.endswith(" bytes of model.safetensors of robin/tiny in 1 s; check the network and try again")
    assert time.monotonic() - begun < 5


def test_a_slow_line_is_no_stall(hub, monkeypatch):
    monkeypatch.setattr(hub_client, "STALLED", 0.2)
    monkeypatch.setattr(hub_client, "LEAST", 2)
    hub.faults.append(Fault("GET .*config.json", drip=0.002))
    create_model(NAME)


def test_a_large_file_is_said_before_it_is_there(hub, monkeypatch, caplog):
    monkeypatch.setattr(hub_client, "WORTH_A_LINE", 1000)
    caplog.set_level(logging.INFO, "oscine")
    create_model(NAME)
    size = len(next(iter(hub.repositories[REPOSITORY].commits.values()))["model.safetensors"])
    assert f"fetching model.safetensors of robin/tiny: {size:,} bytes" in caplog.text
    assert "fetching config.json" not in caplog.text


def test_the_clients_own_log_is_silent_while_oscine_works_and_as_it_was_afterwards(hub, caplog):
    theirs = logging.getLogger("huggingface_hub")
    before = theirs.level
    hub.faults.append(Fault("GET /store/", 503, times=99))
    complaint()
    assert not [record for record in caplog.records if record.name.startswith("huggingface_hub")]
    assert theirs.level == before


def test_what_others_fetch_is_not_looked_at(hub, tmp_path, monkeypatch):
    """The client is everybody's: only answers to oscine are checked."""
    create_model(NAME)
    factory = hub_http._GLOBAL_CLIENT_FACTORY
    hub.faults.append(Fault("HEAD .*config.json", claims={"ETag": '"anything"'}))
    assert Path(hf_hub_download(REPOSITORY, "config.json", cache_dir=tmp_path / "theirs")).is_file()
    create_model(NAME)
    assert hub_http._GLOBAL_CLIENT_FACTORY is factory


def test_a_client_whose_maker_has_another_name_is_checked_all_the_same(hub, monkeypatch):
    close_session()
    set_client_factory(hub_http.default_client_factory)
    monkeypatch.setattr(compat, "FACTORY", "renamed")
    create_model(NAME)
    assert get_session().event_hooks["response"] == [hub_client._check], "once"
    hub.repositories[REPOSITORY].commit({"config.json": b" "})
    hub.faults.append(Fault("HEAD .*config.json", claims={"ETag": '"anything"'}, times=9))
    assert "as its hash, expected 40 or 64" in complaint()


def test_where_xet_has_another_name_it_is_left_as_it_is(monkeypatch):
    monkeypatch.delattr(file_download, "is_xet_available")
    compat.leave_out_xet(lambda: True)
    assert not hasattr(file_download, "is_xet_available")


def test_a_client_that_fetches_with_another_library_is_one_line():
    with pytest.raises(
        OscineError, match=r'does not fetch with httpx any more; .*; run: pip install "huggingface_hub=='
    ):
        compat.http_library(ValueError)


def test_a_busy_hub_is_one_line_each_on_the_command_line(hub, tmp_path):
    hub.faults.append(Fault("HEAD .*config.json", 429, {"Retry-After": "99999"}, times=99))
    call = [sys.executable, "-m", "oscine", "download", NAME]
    done = subprocess.run(
        call,
        env=os.environ | environment(hub, tmp_path / "other"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.strip().splitlines() if "loading" not in line]
    [said] = [line for line in told if line != f"oscine download: asking the Hub for {NAME} ..."]
    assert said.startswith(
        "oscine download: the Hub answered 429 for config.json of robin/tiny and asks to wait 99,999 s; "
    )


def test_a_dry_run_sends_nothing_and_needs_no_token(hub):
    encoder = create_model("bat_tiny", **TINY)
    said = push_to_hub(encoder, "robin/new", "mit", dry_run=True)
    assert said.startswith("would publish robin/new v1: private, licence mit\n")
    assert "model.safetensors\n" in said
    assert "\nlicense: mit\n" in said, "the card"
    assert not hub.requests


@pytest.mark.parametrize(("limit", "wait"), [('"resolvers";r=10;t=290', 0), ('"resolvers";r=0;t=290', 290), ("", 5)])
def test_a_limit_asks_to_wait_where_no_request_is_left(limit: str, wait: int) -> None:
    headers = {"ratelimit": limit} if limit else {"Retry-After": "5"}
    assert hub_client.retry_after(headers) == wait
