"""From files to a name on the Hub: one commit, fetched again and compared before a tag names it.

Killed or cut off at any moment, the same call goes on: what was uploaded is not uploaded again, equal files are not
committed twice, and the tag comes last, on a commit that has been fetched, loaded and compared.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils.sha import git_hash

from oscine import __version__
from oscine.models.card import benchmark_file, write_card
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.facts import Data, Facts, parse_licence
from oscine.models.fetch import REASONS, download, explain
from oscine.models.hub import CONFIG, WEIGHTS, load_pretrained, read_config, save_pretrained
from oscine.models.weights import file_hash

logger = logging.getLogger(__name__)
Files = Mapping[str, "Path | bytes"]
T = TypeVar("T")

CARD, SETTINGS, SOURCE = "README.md", "settings.yaml", "source.json"
# What an earlier publishing may have left in a repository and this one does not have any more.
OURS = re.compile(r"settings\.yaml|source\.json|scores/[^/]+\.json|\.eval_results/oscine_[^/]+\.yaml")


class Publication(NamedTuple):
    """What is published, and the proof that it works.

    files: by their path in the repository. check: takes a folder with these files, as fetched from the Hub, and raises an
    OscineError unless what is loaded from it does what the original does.
    """

    repository: str
    tag: str
    files: Files
    check: Callable[[Path], None]


class Receipt(NamedTuple):
    """Where a publication now is."""

    repository: str
    tag: str
    commit: str
    public: bool


def push_to_hub(
    encoder: Encoder, repository: str, licence: str, tag: str = "v1", public: bool = False, data: Sequence[Data] = ()
) -> str:
    """Publish an encoder as OWNER/NAME on the Hub, with a card, and return the commit that the tag names.

    licence: of the weights, as the Hub names it, or NAME=LINK. public: open the repository to everybody, at the very end.
    data: what the encoder was trained on. `create_model("hf-hub:OWNER/NAME")` loads it.
    """
    chosen = parse_licence(licence)
    with TemporaryDirectory(prefix="oscine-") as temporary:
        folder = Path(temporary)
        try:
            saved = load_pretrained(save_pretrained(encoder, folder))
        except OSError as error:
            raise OscineError(f"no room for the encoder in {folder} ({error.strerror}); set TMPDIR") from error
        publication = encoder_publication(
            folder, Facts(repository, tag, saved, file_hash(folder / WEIGHTS), chosen, data)
        )
        publication.check(folder)
        check_same_weights(encoder, saved)
        return publish(publication, public).commit


def encoder_publication(folder: Path, facts: Facts) -> Publication:
    """The encoder in a folder that `save_pretrained` wrote, with the card and records that its facts make."""
    files: dict[str, Path | bytes] = {
        WEIGHTS: folder / WEIGHTS,
        CONFIG: folder / CONFIG,
        CARD: write_card(facts).encode(),
    }
    if facts.run and facts.run.settings:
        files[SETTINGS] = facts.run.settings.encode()
    if facts.source:
        files[SOURCE] = facts.source.as_json()
    for score in facts.scores:
        files[f"scores/{score.name}.json"] = score.content
        benchmark = benchmark_file(facts, score)
        if benchmark:
            files[f".eval_results/oscine_{score.name}.yaml"] = benchmark.encode()
    return Publication(facts.repository, facts.tag, files, partial(check_same_features, facts.encoder))


def check_same_weights(encoder: Encoder, saved: Encoder) -> None:
    """What was saved is what is in memory, to the bit and in the same precision."""
    tensors = saved.state_dict()
    for name, tensor in encoder.state_dict().items():
        if tensor.dtype != tensors[name].dtype:
            raise OscineError(
                f"{name} is {tensor.dtype}, encoders are saved in {tensors[name].dtype}; call .float() first"
            )
        if not torch.equal(tensor.cpu(), tensors[name]):
            raise OscineError(f"{name} is not what was saved; leave the encoder alone while it is published")


def check_same_features(encoder: Encoder, folder: Path) -> None:
    """What a folder holds loads strictly and gives the features of an encoder, to the bit; none of them is NaN."""
    loaded = load_pretrained(folder)
    noise = 0.1 * torch.randn(1, encoder.samples, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = encoder(noise), loaded(noise)
    if not all(tensor.isfinite().all() for tensor in ours):
        raise OscineError("the encoder's features are not finite; its weights are broken and nothing to publish")
    if not all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)):
        raise OscineError(f"the encoder in {folder} gives other features than the one to publish; save it again")


def publish(publication: Publication, public: bool = False) -> Receipt:
    """Upload in one commit, fetch it again, compare, tag. The repository is private until that is done.

    A tag never moves: one that names other files is an error. Every step can be done twice, so the whole can be, too.
    """
    repository, tag = publication.repository, publication.tag
    with said_in_one_line(repository):
        check_name(repository)
        api = HfApi(library_name="oscine", library_version=__version__)
        check_token(api, publication)
        patiently(lambda: api.create_repo(repository, private=True, exist_ok=True))
        info = look(api, repository)
        check_repository(info, repository, public)
        commit = tagged(api, publication) or patiently(lambda: commit_files(api, publication))
        verify(publication, commit)
        patiently(lambda: api.create_tag(repository, tag=tag, revision=commit, exist_ok=True))
        if look(api, repository, tag).sha != commit:
            raise OscineError(f"somebody else has just tagged {tag} of {repository}; choose another tag")
        if public and info.private:
            patiently(lambda: api.update_repo_settings(repository, visibility="public"))
    return Receipt(repository, tag, commit, public or not info.private)


def check_name(repository: str) -> None:
    validate_repo_id(repository)
    if "/" not in repository:
        raise OscineError(f"{repository!r} is not the name of a repository; expected owner/name")


def check_token(api: HfApi, publication: Publication) -> None:
    """A token that may write, and that does not go out with what is published."""
    repository, token = publication.repository, get_token()
    if constants.HF_HUB_OFFLINE:
        raise OscineError("publishing needs the Hub, and HF_HUB_OFFLINE=1 forbids to ask it; unset it")
    if token is None:
        raise OscineError(f"publishing {repository} needs a token that may write: `hf auth login`, or set HF_TOKEN")
    role = (api.whoami().get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise OscineError(f"publishing {repository} needs a token that may write, yours may only read: `hf auth login`")
    for path, content in publication.files.items():
        if isinstance(content, bytes) and token.encode() in content:
            raise OscineError(f"your token stands in {path}; take it out where that comes from, and make a new one")


def check_repository(info: ModelInfo, repository: str, public: bool) -> None:
    """Nobody's work is covered up, and nothing comes to light, by mistake."""
    if not info.private and not public:
        raise OscineError(
            f"{repository} is there and public; allow it (--public, public=True), or name another repository"
        )
    names = {sibling.rfilename for sibling in info.siblings or ()}
    if CONFIG not in names:
        if others := sorted(names - {".gitattributes"}):
            raise OscineError(f"{repository} holds {others[0]}, which is none of oscine's; name another")
        return
    with TemporaryDirectory(prefix="oscine-") as cache, torch.device("meta"):
        config = download(repository, CONFIG, info.sha, cache=Path(cache))
        try:
            read_config(config)
        except OscineError as error:
            raise OscineError(f"{repository} holds a model that is none of oscine's ({error}); name another") from error


def look(api: HfApi, repository: str, revision: str | None = None) -> ModelInfo:
    return patiently(lambda: api.model_info(repository, revision=revision, files_metadata=True))


def tagged(api: HfApi, publication: Publication) -> str | None:
    """The commit of the tag, if there is one: then it must hold these very files."""
    repository, tag, files, _ = publication
    try:
        info = look(api, repository, tag)
    except RevisionNotFoundError:
        return None
    differ = [*changed(info, files), *stale(info, files)]
    if differ:
        raise OscineError(
            f"{tag} of {repository} names other files ({', '.join(differ)}), and a tag does not move; choose another tag"
        )
    return info.sha


def changed(info: ModelInfo, files: Files) -> list[str]:
    """Files that a commit does not hold as they are here."""
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    return [path for path, content in files.items() if path not in there or not same(there[path], content)]


def same(sibling: RepoSibling, content: Path | bytes) -> bool:
    if sibling.lfs:
        return sibling.lfs.sha256 == hash_of(content)
    return sibling.blob_id == git_hash(content.read_bytes() if isinstance(content, Path) else content)


def stale(info: ModelInfo, files: Files) -> list[str]:
    """Files of an earlier publishing that this one does not have."""
    there = [sibling.rfilename for sibling in info.siblings or ()]
    return [path for path in there if path not in files and OURS.fullmatch(path)]


def commit_files(api: HfApi, publication: Publication) -> str:
    """One commit with all files, on top of what was looked at; none where nothing differs."""
    repository, tag, files, _ = publication
    info = api.model_info(repository, files_metadata=True)
    gone = stale(info, files)
    if not changed(info, files) and not gone:
        return str(info.sha)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path, content) for path, content in files.items()),
        *(CommitOperationDelete(path) for path in gone),
    ]
    message = f"{tag}, published with oscine {__version__}"
    return api.create_commit(repository, operations, commit_message=message, parent_commit=info.sha).oid


def verify(publication: Publication, commit: str) -> None:
    """Fetch a commit into an empty cache: every file must have its hash, and what is loaded must do the same."""
    repository, _, files, check = publication
    with TemporaryDirectory(prefix="oscine-") as cache:
        for path, content in files.items():
            fetched = download(repository, path, commit, cache=Path(cache))
            expected, found = hash_of(content), file_hash(fetched)
            if found != expected:
                raise OscineError(
                    f"{path} came back from {repository} with sha256 {found}, expected {expected}; nothing is tagged: "
                    "publish it again"
                )
        check(download(repository, CONFIG, commit, cache=Path(cache)).parent)


def hash_of(content: Path | bytes) -> str:
    return file_hash(content) if isinstance(content, Path) else sha256(content).hexdigest()


# Seconds to wait before a step is tried again, unless the Hub asks for more.
PAUSES = (1, 2, 4, 8, 16)
PASSING = {408, 429, 500, 502, 503, 504}
PATIENCE = 300  # seconds, the longest wait that is granted


def patiently(step: Callable[[], T]) -> T:
    """Do a step that can be done twice; again, where the Hub was busy or the connection broke.

    huggingface_hub does so for some requests only, and not for those that create, commit and tag.
    """
    for pause in PAUSES:
        try:
            return step()
        except (HTTPError, RuntimeError, json.JSONDecodeError) as error:
            # The client wraps what a large file's upload met.
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            asked = "0"
            if isinstance(cause, HfHubHTTPError):
                if cause.response.status_code not in PASSING:
                    raise
                asked = cause.response.headers.get("Retry-After", "0")
            wait = max(pause, min(int(asked) if asked.isdigit() else 0, PATIENCE))
            logger.info("%s; trying again in %d s", type(cause).__name__, wait)
            time.sleep(wait)
    return step()


@contextmanager
def said_in_one_line(repository: str) -> Iterator[None]:
    """Errors of huggingface_hub become those that a user can mend."""
    try:
        yield
    except OscineError:
        raise
    except json.JSONDecodeError as error:
        raise OscineError(
            f"{constants.ENDPOINT} does not answer as the Hub does ({error}); check HF_ENDPOINT"
        ) from error
    except tuple(REASONS) as error:
        raise OscineError(explain(error, repository, publishing=True)) from error
    except ValueError as error:  # metadata or an upload that the Hub refuses
        reason = " ".join(str(error).split())
        raise OscineError(f"the Hub refuses what would be published as {repository}: {reason}") from error
