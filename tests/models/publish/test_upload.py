"""Encoders to the Hub and back, over HTTP to a server on loopback that speaks its protocol and fails on demand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub import folder as hub_room
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.publish import contents as publication_room
from oscine.models.publish import upload as publish_room
from oscine.models.publish.contents import RepoContents, encoder_contents, file_of
from oscine.models.publish.facts import Facts
from oscine.models.publish.terms import Data, parse_licence
from oscine.models.publish.upload import SECRET, publish, push_to_hub
from oscine.models.zoo import create_model
from tests.hub_server import Fault, Hub, Repository, serving, sha256

TINY = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}
STANDS_IN_SETTINGS = (
    "a token or a password stands in settings.yaml; take it out where that comes from, and make a new one"
)
REPOSITORY, NAME, TOKEN = "robin/tiny", "hf-hub:robin/tiny", "hf_a_secret_of_robin"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens[TOKEN] = "robin"
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def seeded(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return create_model("bat_tiny", **TINY)


def prepared(folder: Path, encoder: Encoder, tag: str = "v1") -> RepoContents:
    """An encoder, saved and ready to be published."""
    save_pretrained(encoder, folder)
    facts = Facts(
        REPOSITORY, tag, load_pretrained(folder), file_hash(folder / "model.safetensors"), parse_licence("mit")
    )
    return encoder_contents(folder, facts)


def with_files(publication: RepoContents, more: dict[str, bytes]) -> RepoContents:
    added = {path: file_of(content) for path, content in more.items()}
    return publication._replace(files={**publication.files, **added})


def same(one: Encoder, other: Encoder) -> bool:
    waveform = 0.1 * torch.randn(2, one.samples, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return all(torch.equal(ours, theirs) for ours, theirs in zip(one(waveform), other(waveform), strict=True))


def complaint(publication: RepoContents, public: bool = False) -> str:
    with pytest.raises(OscineError) as caught:
        publish(publication, public)
    message = str(caught.value)
    assert "\n" not in message
    assert TOKEN not in message
    return message


def sent(hub: Hub, part: str) -> int:
    """How many requests that change something had this in their path."""
    return sum(method in ("POST", "PUT") and part in path for method, path in hub.requests)


def test_an_encoder_is_published_and_loaded_by_its_name(hub, monkeypatch):
    encoder = seeded().eval()
    commit = push_to_hub(encoder, REPOSITORY, "mit", data=[Data("robin/garden", "CC0")])
    repository = hub.repositories[REPOSITORY]
    assert repository.refs == {"main": commit, "v1": commit}
    assert repository.private
    assert len(repository.log()) == 2, "the empty one and one with everything"
    for revision in (None, "v1", commit):
        loaded = create_model(NAME, revision=revision)
        assert same(loaded, encoder)
        assert loaded.provenance["revision"] == commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(create_model(NAME, revision=commit), encoder)


def test_large_files_go_up_in_parts(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    publish(publication)
    digest = file_hash(tmp_path / "saved" / "model.safetensors")
    assert len([key for key in hub.parts if key[0] == digest]) > 1
    assert (
        hub.repositories[REPOSITORY].commits[publish(publication).commit]["model.safetensors"] == hub.uploaded[digest]
    )


def test_publishing_twice_changes_nothing(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    first = publish(publication)
    hub.requests.clear()
    assert publish(publication) == first
    assert len(hub.repositories[REPOSITORY].log()) == 2
    assert not sent(hub, "/store/")
    assert not sent(hub, "/commit/")


def test_a_tag_never_moves(hub, tmp_path):
    old, new = seeded(0), seeded(1)
    first = publish(prepared(tmp_path / "old", old))
    message = complaint(prepared(tmp_path / "new", new))
    assert message == (
        "v1 of robin/tiny names other files (model.safetensors, README.md), and a tag does not move; choose another tag"
    )
    second = publish(prepared(tmp_path / "new", new, "v2"))
    assert hub.repositories[REPOSITORY].refs == {"main": second.commit, "v1": first.commit, "v2": second.commit}
    assert same(create_model(f"{NAME}@v1"), old)
    assert same(create_model(NAME), new)


def test_what_an_earlier_publishing_left_is_gone_and_what_others_added_stays(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    more = {"scores/chorus.json": b"{}", ".eval_results/oscine_chorus.yaml": b"[]", "settings.yaml": b"name: a"}
    publish(with_files(publication, more))
    hub.repositories[REPOSITORY].commit({"logo.png": b"bird", ".eval_results/leader.yaml": b"[]"})
    second = publish(prepared(tmp_path / "saved", seeded(), "v2"))
    kept = {".gitattributes", "logo.png", ".eval_results/leader.yaml", "README.md", "config.json", "model.safetensors"}
    assert set(hub.repositories[REPOSITORY].commits[second.commit]) == kept


def test_it_is_open_to_everybody_only_when_all_is_done(hub, tmp_path):
    seen: list[tuple[str, bool]] = []

    def look(request: str, done: bool) -> None:
        if done and REPOSITORY in hub.repositories:
            seen.append((request, hub.repositories[REPOSITORY].private))

    hub.watch = look
    assert publish(prepared(tmp_path / "saved", seeded()), public=True).public
    assert any("/tag/" in request and private for request, private in seen)
    assert [request for request, private in seen if not private] == [f"PUT /api/models/{REPOSITORY}/settings"]


def test_a_repository_that_is_public_already_needs_a_word(hub, tmp_path):
    hub.add(REPOSITORY, {})
    publication = prepared(tmp_path / "saved", seeded())
    assert complaint(publication) == ("robin/tiny is there and public; allow it (public), or name another repository")
    assert not hub.uploaded
    assert publish(publication, public=True).public


def test_another_librarys_model_is_not_covered_up(hub, tmp_path):
    hub.add(REPOSITORY, {"config.json": b'{"model_type": "bird"}', "model.safetensors": b"0"}, private=True)
    message = complaint(prepared(tmp_path / "saved", seeded()))
    assert message.startswith("robin/tiny holds a model that is none of oscine's (")
    assert message.endswith("name another")
    assert not hub.uploaded


def test_weights_without_a_config_are_not_covered_up(hub, tmp_path):
    hub.add(REPOSITORY, {"model.safetensors": b"0"}, private=True)
    assert complaint(prepared(tmp_path / "saved", seeded())) == (
        "robin/tiny holds model.safetensors, which is none of oscine's; name another"
    )


@pytest.mark.parametrize("name", ["robin", "a/b/c", "robin/ti ny", ""])
def test_a_name_that_no_repository_can_have_is_refused(hub, tmp_path, name):
    publication = prepared(tmp_path / "saved", seeded())._replace(repository=name)
    assert complaint(publication) == f"{name!r} is not the name of a repository; expected owner/name"
    assert not hub.requests


def test_without_a_token_nothing_begins(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    message = complaint(prepared(tmp_path / "saved", seeded()))
    assert message == "publishing robin/tiny needs a token that may write: `hf auth login`, or set HF_TOKEN"
    assert not hub.requests


def test_a_token_that_is_none_is_named_as_such(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_forged")
    message = complaint(prepared(tmp_path / "saved", seeded()))
    assert message == (
        "the Hub answered 401 for publishing robin/tiny; the token is not accepted: `hf auth login` makes a new one"
    )


def test_a_token_that_may_only_read_is_refused_before_anything_is_made(hub, tmp_path):
    hub.readers.add(TOKEN)
    assert "needs a token that may write, yours may only read" in complaint(prepared(tmp_path / "saved", seeded()))
    assert not hub.repositories


def test_somebody_elses_name_is_refused(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())._replace(repository="wren/tiny")
    assert complaint(publication) == (
        "the Hub answered 403 for publishing wren/tiny; the token may not write it: `hf auth login` with one that may"
    )


def test_a_token_never_goes_out_with_the_files(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    leaking = with_files(publication, {"settings.yaml": f"token: {TOKEN}".encode()})
    assert complaint(leaking) == STANDS_IN_SETTINGS
    publish(publication)
    everything = [content for files in hub.repositories[REPOSITORY].commits.values() for content in files.values()]
    assert not any(TOKEN.encode() in content for content in everything)


@pytest.mark.parametrize("secret", ["hf_" + 34 * "x", "https://robin:secret@mirror.example/x"])
def test_no_other_token_and_no_password_goes_out_either(hub, tmp_path, secret):
    publication = prepared(tmp_path / "saved", seeded())
    (tmp_path / "settings.yaml").write_text(f"from: {secret}\n")
    for content in (f"from: {secret}\n".encode(), tmp_path / "settings.yaml"):
        leaking = publication._replace(files={**publication.files, "settings.yaml": file_of(content)})
        assert complaint(leaking) == STANDS_IN_SETTINGS
    assert not hub.requests


@pytest.mark.parametrize("tag", ["main", "v 1", "", "v/1", "-v1", "v1..2", "v1.lock", 40 * "a", "oscine-draft-1"])
def test_what_cannot_be_a_tag_is_refused_before_anything_is_made(hub, tmp_path, tag):
    assert complaint(prepared(tmp_path / "saved", seeded(), tag)) == (
        f"{tag!r} cannot be a tag; expected letters, digits, '.', '-' and '_', such as v2, and not main"
    )
    assert not hub.requests


@pytest.mark.parametrize("tag", ["v1", "2026", "v1.0.2", "v1-rc.1", "as2m_long"])
def test_what_can_be_a_tag_is_one(hub, tmp_path, tag):
    assert publish(prepared(tmp_path / "saved", seeded(), tag)).tag == tag


def test_offline_it_says_so(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE=1 forbids" in complaint(prepared(tmp_path / "saved", seeded()))
    assert not hub.requests


def test_no_network_is_said_in_one_line(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    hub.shutdown()
    hub.server_close()
    assert complaint(publication).startswith(f"no connection to {hub.url} for publishing robin/tiny (")


def test_metadata_that_the_hub_refuses_are_told(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    wrong = with_files(publication, {"README.md": b"---\nlicense: No Such\n---\n"})
    message = complaint(wrong)
    assert message.startswith("the Hub refuses what would be published as robin/tiny: ")
    assert '"license" must be one of the known ones' in message
    assert not hub.uploaded


def test_broken_weights_are_not_published(hub):
    encoder = seeded()
    with torch.no_grad():
        encoder.cls_token.fill_(torch.nan)
    with pytest.raises(OscineError, match="1 with NaN or infinity"):
        push_to_hub(encoder, REPOSITORY, "mit")
    assert not hub.repositories


def test_halves_of_numbers_are_not_published_as_whole_ones(hub):
    with pytest.raises(OscineError, match=r"is torch.bfloat16, encoders are saved in torch.float32; call .float\(\)"):
        push_to_hub(seeded().bfloat16(), REPOSITORY, "mit")
    assert not hub.requests


def test_a_licence_is_needed_and_the_choices_are_listed(hub):
    with pytest.raises(
        OscineError, match=r"licence not given; choose one for the weights: apache-2.0, mit, .*NAME=http"
    ):
        push_to_hub(seeded(), REPOSITORY, "")
    with pytest.raises(OscineError, match="licence beer; choose one"):
        push_to_hub(seeded(), REPOSITORY, "beer")
    assert not hub.requests


# Where a connection can break or the Hub can fail, and what is asked for again.
MOMENTS = [
    "GET /api/whoami",
    "POST /api/repos/create",
    "GET /api/models/robin/tiny",
    "POST /api/validate-yaml",
    "POST /api/models/robin/tiny/preupload/",
    "POST /robin/tiny.git/info/lfs/objects/batch",
    "PUT /store/[0-9a-f]+/2",
    "POST /store/",
    "POST /robin/tiny.git/info/lfs/verify",
    "POST /api/models/robin/tiny/branch/",
    "POST /api/models/robin/tiny/commit/oscine-draft-",
    "HEAD /robin/tiny/resolve/",
    "GET /robin/tiny/resolve/",
    "GET /store/",
    "POST /api/models/robin/tiny/commit/main",
    "POST /api/models/robin/tiny/tag/",
]
TIDYING = [
    "GET /api/models/robin/tiny/refs",
    "GET /api/models/robin/tiny/commits/",
    "DELETE /api/models/robin/tiny/branch/oscine-draft-",
]
FAULTS = {
    "500": {"status": 500},
    "429": {"status": 429, "headers": {"Retry-After": "7"}},
    "half of the request": {"heard": 20},
    "no answer": {"deaf": True},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("moment", [*MOMENTS, *TIDYING])
def test_a_hub_that_fails_once_is_asked_again(hub, tmp_path, moment, fault):
    encoder = seeded()
    publication = prepared(tmp_path / "saved", encoder)
    hub.faults.append(Fault(moment, **FAULTS[fault]))
    if moment.startswith("GET") and "heard" in FAULTS[fault]:  # which sends nothing that could be cut off
        hub.faults[0] = Fault(moment, cut_after=20)
    receipt = publish(publication)
    assert not hub.faults or (moment.startswith("HEAD") and "heard" in FAULTS[fault]), "it has neither"
    assert hub.repositories[REPOSITORY].refs == {"main": receipt.commit, "v1": receipt.commit}
    assert len(hub.repositories[REPOSITORY].log()) == 2
    assert same(create_model(NAME), encoder)


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment.startswith(("POST /api/", "GET /api/w"))])
def test_the_hub_says_how_long_to_wait(hub, tmp_path, pauses, moment):
    publication = prepared(tmp_path / "saved", seeded())
    hub.faults.append(Fault(moment, status=429, headers={"Retry-After": "7"}))
    publish(publication)
    assert not hub.faults
    assert max(pauses) >= (1 if "preupload" in moment else 7), "preupload is asked again by the client, as it likes"


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if "lfs/verify" not in moment])
def test_a_hub_that_stays_broken_leaves_no_tag_and_the_same_call_goes_on(hub, tmp_path, moment):
    encoder = seeded()
    publication = prepared(tmp_path / "saved", encoder)
    hub.faults.append(Fault(moment, status=500, times=10_000))
    answered = hub.store_url.removesuffix("/store") if "/store/" in moment else "the Hub"
    assert f"{answered} answered 500 for " in complaint(publication)
    assert "v1" not in (hub.repositories[REPOSITORY].refs if REPOSITORY in hub.repositories else {})
    hub.faults.clear()
    publish(publication)
    assert len(hub.repositories[REPOSITORY].log()) == 2
    assert same(create_model(NAME, revision="v1"), encoder)


def test_waits_for_a_busy_hub_are_bounded_for_several_large_files_too(hub, tmp_path, pauses):
    """The client uploads several at once in threads."""
    publication = prepared(tmp_path / "saved", seeded())
    second = tmp_path / "second.safetensors"
    save_file({"one": torch.ones(30_000)}, second)
    publication = publication._replace(files={**publication.files, "encoder/model.safetensors": file_of(second)})
    hub.faults.append(Fault("PUT /store/", 429, {"Retry-After": "99999"}, times=99))
    assert "answered 429 for publishing robin/tiny and asks to wait 99,999 s; oscine waits 300 s in all" in complaint(
        publication
    )
    assert sum(pauses) < 60
    hub.faults.clear()
    commit = publish(publication).commit
    assert hub.repositories[REPOSITORY].commits[commit]["encoder/model.safetensors"] == second.read_bytes()


def test_weights_are_hashed_once_here_and_once_as_they_came_back(hub, monkeypatch):
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.extend([path] * (path.suffix == ".safetensors"))
        return file_hash(path)

    for module in (hub_room, publish_room, publication_room):
        monkeypatch.setattr(module, "file_hash", counted)
    push_to_hub(seeded(), REPOSITORY, "mit")
    assert len(hashed) == 2


def test_what_was_uploaded_is_not_uploaded_again(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    hub.faults.append(Fault("/commit/", status=500, times=10_000))
    complaint(publication)
    hub.faults.clear()
    hub.requests.clear()
    publish(publication)
    assert not sent(hub, "/store/")


def test_a_flipped_byte_on_the_way_back_leaves_no_tag(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    hub.faults.append(Fault("GET /store/", flip=5000))
    message = complaint(publication)
    assert message.startswith("model.safetensors came back from robin/tiny with sha256 ")
    assert message.endswith("nothing is tagged: publish it again")
    assert "v1" not in hub.repositories[REPOSITORY].refs
    publish(publication)
    assert "v1" in hub.repositories[REPOSITORY].refs


def test_an_upload_that_was_damaged_on_the_way_is_refused_by_its_hash(hub, tmp_path, monkeypatch):
    publication = prepared(tmp_path / "saved", seeded())
    hub.watch = lambda request, done: hub.parts.update(
        {key: part[:-1] + b"?" for key, part in hub.parts.items() if key[1] == 1}
    )
    assert "robin/tiny" in complaint(publication)
    assert "v1" not in hub.repositories[REPOSITORY].refs
    hub.watch = lambda request, done: None
    publish(publication)


def test_a_disk_that_is_full_leaves_no_tag(hub, tmp_path, monkeypatch):
    """The limit is on the size of a file, as a quota is: what is fetched again does not fit."""
    import resource

    publication = prepared(tmp_path / "saved", seeded())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr("signal.SIGXFSZ", None, raising=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        message = complaint(publication)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "could not be fetched into" in message
    assert "make room or set TMPDIR" in message
    assert "v1" not in hub.repositories[REPOSITORY].refs
    publish(publication)


@pytest.mark.parametrize("moment", ["/branch/", "/preupload/oscine-draft", "/preupload/main"])
def test_somebody_who_commits_meanwhile_is_not_run_over(hub, tmp_path, moment):
    publication = prepared(tmp_path / "saved", seeded())

    def meddle(request: str, done: bool) -> None:
        if moment in request and not done:
            hub.repositories[REPOSITORY].commit({"theirs.txt": b"%d" % len(hub.requests)})

    hub.watch = meddle
    assert complaint(publication) == "robin/tiny has changed since it was looked at; publish it again"
    assert "v1" not in hub.repositories[REPOSITORY].refs


def test_somebody_who_tags_meanwhile_is_not_taken_for_us(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())

    def meddle(request: str, done: bool) -> None:
        found = hub.repositories.get(REPOSITORY)
        if "/tag/" in request and not done and found:
            found.refs["v1"] = next(iter(found.commits))

    hub.watch = meddle
    assert "somebody else has just tagged v1 of robin/tiny" in complaint(publication)


def test_weights_that_change_while_they_are_published_are_noticed(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    weights = tmp_path / "saved" / "model.safetensors"

    def meddle(request: str, done: bool) -> None:
        if "/commit/" in request and not done:
            save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})

    hub.watch = meddle
    assert complaint(publication).startswith("model.safetensors has changed while it was published; leave it alone")
    assert len(hub.repositories[REPOSITORY].log()) == 1, "on main lies nothing"


def test_an_old_config_is_not_mended_by_a_new_oscine(hub, tmp_path):
    """What is there of a newer oscine is not covered up by an older one, which cannot read it."""
    publication = prepared(tmp_path / "saved", seeded())
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    config["config"]["rotary"] = True
    newer = json.dumps(config | {"oscine_version": "99.0"}).encode()
    hub.add(REPOSITORY, {"config.json": newer}, private=True)
    assert "update oscine" in complaint(publication)


def test_the_card_on_the_hub_has_the_metadata(hub):
    commit = push_to_hub(seeded(), REPOSITORY, "cc-by-4.0", data=[Data("robin/garden", "CC0"), Data("my attic")])
    card = hub.repositories[REPOSITORY].commits[commit]["README.md"].decode()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["datasets"] == ["robin/garden"]
    assert metadata["library_name"] == "oscine"
    assert sha256(hub.repositories[REPOSITORY].commits[commit]["model.safetensors"]) in card


@pytest.mark.parametrize("public", [False, True])
def test_main_holds_nothing_that_was_not_fetched_and_compared(hub, tmp_path, public):
    old, new = seeded(0), seeded(1)
    first = publish(prepared(tmp_path / "old", old), public)
    publication = prepared(tmp_path / "new", new, "v2")
    hub.faults.append(Fault("GET /store/", flip=5000))
    assert "nothing is tagged" in complaint(publication, public)
    refs = hub.repositories[REPOSITORY].refs
    assert refs["main"] == first.commit
    assert same(create_model(NAME), old)
    second = publish(publication, public)
    assert refs == {"main": second.commit, "v1": first.commit, "v2": second.commit}
    assert same(create_model(NAME), new)


@pytest.mark.parametrize("moment", TIDYING)
def test_a_draft_that_cannot_be_taken_away_stops_nothing_and_goes_with_the_next_call(hub, tmp_path, moment):
    encoder = seeded()
    publication = prepared(tmp_path / "saved", encoder)
    hub.faults.append(Fault(moment, status=500, times=10_000))
    receipt = publish(publication)
    refs = hub.repositories[REPOSITORY].refs
    assert set(refs) == {"main", "v1", publication.draft}
    assert same(create_model(NAME, revision=receipt.commit), encoder)
    hub.faults.clear()
    assert publish(publication) == receipt
    assert set(refs) == {"main", "v1"}


def test_the_draft_of_an_interrupted_call_goes_though_main_has_moved_on(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    hub.faults.append(Fault("/commit/oscine-draft-", status=500, times=10_000))
    complaint(publication)
    hub.faults.clear()
    found = hub.repositories[REPOSITORY]
    found.commit({".gitattributes": b"*.png filter=lfs\n"})
    publish(publication)
    assert set(found.refs) == {"main", "v1"}
    assert found.commits[found.refs["v1"]][".gitattributes"] == b"*.png filter=lfs\n"


def test_the_drafts_of_other_content_go_as_well(hub, tmp_path):
    hub.faults.append(Fault("/commit/main", status=500, times=10_000))
    for seed in range(2):
        complaint(prepared(tmp_path / "saved", seeded(seed), f"v{seed}"))
    found = hub.repositories[REPOSITORY]
    assert len([name for name in found.refs if name.startswith("oscine-draft-")]) == 2
    work = found.commit({"theirs.txt": b"hello"}, "oscine-draft-0")
    hub.faults.clear()
    last = publish(prepared(tmp_path / "saved", seeded(2), "v2"))
    assert found.refs == {"main": last.commit, "v2": last.commit, "oscine-draft-0": work}


def test_drafts_have_names_that_only_what_is_published_makes(hub, tmp_path):
    publication = prepared(tmp_path / "saved", seeded())
    others = [
        prepared(tmp_path / "saved", seeded(), "v2"), publication._replace(repository="robin/other"),
        with_files(publication, {"settings.yaml": b"seed: 1\n"}),
    ]  # fmt: skip
    names = {one.draft for one in [publication, *others]}
    assert len(names) == 4
    assert all(re.fullmatch("oscine-draft-[0-9a-f]{16}", name) for name in names)
    assert prepared(tmp_path / "again", seeded()).draft == publication.draft


@pytest.mark.parametrize("branch", ["draft-v1", "drafts", "v1-draft"])
def test_a_branch_of_somebody_stays_as_it_is(hub, tmp_path, branch):
    found = hub.repositories[REPOSITORY] = Repository(private=True)
    found.commit({".gitattributes": b""})
    work = found.commit({"theirs.txt": b"hello"}, branch)
    publish(prepared(tmp_path / "saved", seeded()))
    assert found.refs[branch] == work


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_draft_on_which_somebody_has_worked_is_not_taken_away(hub, tmp_path, when):
    publication = prepared(tmp_path / "saved", seeded())
    publish(publication)  # so that the repository is there
    found = hub.repositories[REPOSITORY]
    del found.refs["v1"]

    def work() -> None:
        found.refs.setdefault(publication.draft, found.refs["main"])
        found.commit({"theirs.txt": b"hello"}, publication.draft)

    if when == "before":
        work()
        message = complaint(publication)
        assert message == (
            f"somebody has worked on the branch {publication.draft} of robin/tiny; take it away there, or choose another tag"
        )
    else:
        hub.watch = lambda request, done: work() if "POST" in request and "/tag/" in request and done else None
        publish(publication)
    assert found.commits[found.refs[publication.draft]]["theirs.txt"] == b"hello"


# Requests of a publishing during which its weights go away on this machine: before anything, on the way up, and between
# the draft and main.
DURING = ["GET /api/whoami", "POST /robin/tiny.git/info/lfs/objects/batch", "GET /store/"]


@pytest.mark.parametrize("moment", DURING)
def test_a_file_that_is_gone_here_is_no_fault_of_the_network(hub, tmp_path, pauses, moment):
    publication = prepared(tmp_path / "saved", seeded())
    weights = tmp_path / "saved" / "model.safetensors"

    def meddle(request: str, done: bool) -> None:
        if request.startswith(moment):
            weights.unlink(missing_ok=True)

    hub.watch = meddle
    assert complaint(publication) == (
        f"{weights}: No such file or directory, here and not on the Hub; mend it and publish again"
    )
    assert not pauses, "waiting does not bring it back"
    assert "v1" not in hub.repositories[REPOSITORY].refs


def test_a_missing_place_for_what_is_fetched_is_no_fault_of_the_network(hub, tmp_path, monkeypatch):
    publication = prepared(tmp_path / "saved", seeded())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    message = complaint(publication)
    assert message.startswith(f"{tmp_path / 'absent'}/oscine-")
    assert message.endswith(": No such file or directory, here and not on the Hub; mend it and publish again")


def test_what_is_wrong_in_a_check_is_not_said_to_be_the_networks(hub, tmp_path):
    def check(folder: Path) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        publish(prepared(tmp_path / "saved", seeded())._replace(check=check))


def test_the_licence_of_loaded_weights_goes_along(hub):
    push_to_hub(seeded(), REPOSITORY, "cc-by-nc-4.0")
    loaded = create_model(NAME)
    for other in ("mit", "cc-by-nc-sa-4.0"):
        with pytest.raises(
            OscineError, match=rf"licence '{other}', but hf-hub:robin/tiny is under cc-by-nc-4.0; leave .*licence"
        ):
            push_to_hub(loaded, "robin/mine", other)
    told, card = card_of(hub, push_to_hub(loaded, "robin/mine"))
    assert (told["base_model"], told["license"]) == ("robin/tiny", "cc-by-nc-4.0")
    assert "Their source states: cc-by-nc-4.0." in card
    push_to_hub(loaded, "robin/allowed", "mit", relicence=True)


def test_weights_that_were_trained_further_may_go_on_under_a_stricter_licence(hub):
    push_to_hub(seeded(), REPOSITORY, "cc-by-nc-4.0")
    loaded = create_model(NAME)
    torch.nn.init.ones_(loaded.cls_token)
    told, card = card_of(hub, push_to_hub(loaded, "robin/mine", "cc-by-nc-sa-4.0"))
    assert (told["base_model"], told["license"]) == ("robin/tiny", "cc-by-nc-sa-4.0")
    assert "They began with `hf-hub:robin/tiny`, whose source states: cc-by-nc-4.0." in card


def card_of(hub: Hub, commit: str, repository: str = "robin/mine") -> tuple[dict[str, object], str]:
    """A card's metadata, and all of it."""
    card = hub.repositories[repository].commits[commit]["README.md"].decode()
    return yaml.safe_load(card.split("---")[1]), card


def test_the_licence_stays_over_two_hops(hub, tmp_path):
    push_to_hub(seeded(), REPOSITORY, "cc-by-nc-4.0")
    folder = save_pretrained(create_model(NAME), tmp_path / "saved")
    loaded = create_model(f"local-dir:{folder}")
    with pytest.raises(OscineError, match=r"hf-hub:robin/tiny is under cc-by-nc-4.0"):
        push_to_hub(loaded, "robin/mine", "mit")
    push_to_hub(loaded, "robin/mine")
    with pytest.raises(OscineError, match=r"hf-hub:robin/mine is under cc-by-nc-4.0"):
        push_to_hub(create_model("hf-hub:robin/mine"), "robin/third", "mit")


def test_a_licence_of_nobodys_list_is_kept_as_its_authors_state_it(hub, tmp_path):
    files = {path.name: path.read_bytes() for path in save_pretrained(seeded(), tmp_path / "saved").iterdir()}
    other = b"---\nlicense: other\nlicense_name: garden\nlicense_link: LICENSE\n---\n"
    for name, card in (("wren/nd", b"---\nlicense: cc-by-nd-4.0\n---\n"), ("wren/other", other)):
        commit = hub.add(name, files | {"README.md": card})
        push_to_hub(create_model(f"hf-hub:{name}"), f"robin/{name[5:]}")
    found = hub.repositories["robin/nd"].refs["v1"]
    assert card_of(hub, found, "robin/nd")[0]["license"] == "cc-by-nd-4.0"
    told, card = card_of(hub, hub.repositories["robin/other"].refs["v1"], "robin/other")
    assert (told["license"], told["license_name"]) == ("other", "garden")
    assert told["license_link"] == f"https://huggingface.co/wren/other/blob/{commit}/LICENSE"
    assert f"The weights: [garden]({told['license_link']})." in card
    hub.add("wren/unlinked", files | {"README.md": b"---\nlicense: other\nlicense_name: garden\n---\n"})
    told, _ = card_of(hub, push_to_hub(create_model("hf-hub:wren/unlinked"), "robin/unlinked"), "robin/unlinked")
    assert (told["license"], told["license_name"], told.get("license_link")) == ("other", "garden", None)
    trained = create_model("hf-hub:wren/nd")
    torch.nn.init.ones_(trained.cls_token)
    with pytest.raises(OscineError, match=r"hf-hub:wren/nd is under cc-by-nd-4.0"):
        push_to_hub(trained, "robin/changed")


def test_what_the_zoo_says_of_the_data_is_said_again(hub):
    told, card = card_of(hub, push_to_hub(create_model("bird_mae_tiny", pretrained=True), "robin/mine"))
    assert told["license"] == "apache-2.0"
    assert "| ESC-10 | not stated |" in card
    assert "| taken from | `bird_mae_tiny.esc10`: `model.safetensors`, sha256 `5575" in card


def test_a_checkpoint_that_nobody_knows_needs_a_licence_and_a_word(hub, tmp_path):
    save_file(dict(seeded().state_dict()), tmp_path / "mine.safetensors")
    loaded = create_model("bat_tiny", checkpoint_path=tmp_path / "mine.safetensors", **TINY)
    with pytest.raises(OscineError, match="licence not given"):
        push_to_hub(loaded, "robin/mine")
    with pytest.raises(
        OscineError, match=r"but it is not known what mine.safetensors is under; say that its owners allow"
    ):
        push_to_hub(loaded, "robin/mine", "mit")
    _, card = card_of(hub, push_to_hub(loaded, "robin/mine", "mit", relicence=True))
    assert str(tmp_path) not in card
    assert "Their source states: not known." in card


SECRETS = {
    "Hugging Face": "hf_" + 34 * "x", "GitHub": "ghp_" + 36 * "a1", "a fine-grained one": "github_pat_" + 60 * "b",
    "GitLab": "glpat-" + 20 * "c", "Amazon": "AKIA" + 16 * "Q", "Google": "AIza" + 35 * "d", "OpenAI": "sk-proj-" + 30 * "e",
    "Slack": "xoxb-1234567890-abcdef", "npm": "npm_" + 36 * "f", "PyPI": "pypi-" + 60 * "g", "Stripe": "sk_live_" + 24 * "h",
    "a web token": "eyJ" + 20 * "a" + ".eyJ" + 20 * "b" + "." + 20 * "c", "a key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "an address": "https://robin:nest@example.org/x", "a database": "postgresql://robin:nest@db.example.org/birds",
    "a header": "Authorization: Bearer " + 30 * "z", "a password": "password: correct-horse",
    "Weights & Biases": "WANDB_API_KEY=" + 40 * "0",
    "Amazon's other half": "aws_secret_access_key = " + 40 * "A", "JSON": '{"api_key": "0123456789abcdef"}',
}  # fmt: skip


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_of_any_usual_kind_goes_out(hub, tmp_path, kind):
    publication = with_files(
        prepared(tmp_path / "saved", seeded()), {"settings.yaml": f"a: 1\n{SECRETS[kind]}\n".encode()}
    )
    assert complaint(publication) == STANDS_IN_SETTINGS
    assert not hub.requests


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 512", "cls_token: true", "sk-learn", "encoder: hf-hub:robin/hf_bird", "token_dim: 768", "https://example.org/a:b",
        "mailto:robin@example.org", "seconds: 10.23", "key: value", "api: bats and birds",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_secret_may_go_out(text):
    assert not SECRET.search(text.encode())
