"""From files to a name on the Hub: fetched again and compared before `main` has them, one commit there, a tag at the end.

Killed or cut off at any moment, the same call goes on: what was uploaded is not uploaded again, equal files are not
committed twice, and the tag comes last, on a commit whose files are, by their hashes, those that were fetched, loaded and
compared.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils.sha import git_hash

from oscine import __version__
from oscine.models.asking import ask, faults_here_in_one_line, refusals_in_one_line
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.facts import Data, encoder_facts
from oscine.models.fetch import download
from oscine.models.hub import load_pretrained, save_pretrained
from oscine.models.publication import File, Publication, encoder_publication
from oscine.models.weights import file_hash

logger = logging.getLogger(__name__)
MAIN = "main"
PASSED_BY = 412  # the status where another commit came in between


class Receipt(NamedTuple):
    """Where a publication now is."""

    repository: str
    tag: str
    commit: str
    public: bool


def push_to_hub(
    encoder: Encoder,
    repository: str,
    licence: str | None = None,
    tag: str = "v1",
    public: bool = False,
    data: Sequence[Data] = (),
    scores: Sequence[str] = (),
    relicence: bool = False,
) -> str:
    """Publish an encoder as OWNER/NAME on the Hub, with a card, and return the commit that the tag names.

    licence: of the weights, as the Hub names it, or NAME=LINK; None keeps the one of the weights that it was loaded with, if
    they are somebody's. public: open the repository to everybody, at the very end. data: what the encoder was trained on, if
    it is not what those weights were. scores: FILE or FILE=OWNER/DATASET:TASK:METRIC, each a scores.json of `oscine probe`.
    relicence: the owners of those weights allow another licence. `create_model("hf-hub:OWNER/NAME")` loads it.
    """
    with faults_here_in_one_line(), TemporaryDirectory(prefix="oscine-") as temporary:
        folder = save_pretrained(encoder, temporary)
        saved = load_pretrained(folder)
        facts = encoder_facts(saved, repository, tag, licence, data, scores, relicence)
        publication = encoder_publication(folder, facts)
        publication.check(folder)
        check_same_weights(encoder, saved)
        return publish(publication, public).commit


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


def publish(publication: Publication, public: bool = False) -> Receipt:
    """Upload, fetch again, compare, commit to `main`, tag. A new repository is private until that is done.

    A tag never moves: one that names other files is an error. Every step can be done twice, so the whole can be, too.
    """
    repository, tag = publication.repository, publication.tag
    with faults_here_in_one_line():
        check_name(repository)
        api = HfApi(library_name="oscine", library_version=__version__)
        check_token(api, publication)
        ask(repository, lambda: api.create_repo(repository, private=True, exist_ok=True))
        info = look(api, repository, MAIN)
        check_repository(info, publication, public)
        commit = tagged(api, publication)
        if commit:
            verify(publication, commit)
        else:
            commit = commit_proven(api, publication, info)
            ask(repository, lambda: api.create_tag(repository, tag=tag, revision=commit, exist_ok=True))
            if look(api, repository, tag).sha != commit:
                raise OscineError(f"somebody else has just tagged {tag} of {repository}; choose another tag")
        tidy(api, publication)
        if public and info.private:
            ask(repository, lambda: api.update_repo_settings(repository, visibility="public"))
    return Receipt(repository, tag, commit, public or not info.private)


def check_name(repository: str) -> None:
    with refusals_in_one_line(repository):
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
    with refusals_in_one_line(repository):
        role = (api.whoami().get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise OscineError(f"publishing {repository} needs a token that may write, yours may only read: `hf auth login`")
    for path, file in publication.files.items():
        if isinstance(file.content, bytes) and token.encode() in file.content:
            raise OscineError(f"your token stands in {path}; take it out where that comes from, and make a new one")


def check_repository(info: ModelInfo, publication: Publication, public: bool) -> None:
    """Nobody's work is covered up, and nothing comes to light, by mistake."""
    repository, kind = publication.repository, publication.kind
    if not info.private and not public:
        raise OscineError(
            f"{repository} is there and public; allow it (--public, public=True), or name another repository"
        )
    names = {sibling.rfilename for sibling in info.siblings or ()}
    if kind.mark not in names:
        if others := sorted(names - {".gitattributes"}):
            raise OscineError(f"{repository} holds {others[0]}, which is none of oscine's; name another")
        return
    with TemporaryDirectory(prefix="oscine-") as cache, torch.device("meta"):
        mark = download(repository, kind.mark, info.sha, cache=Path(cache))
        try:
            kind.read(mark)
        except OscineError as error:
            raise OscineError(f"{repository} holds a model that is none of oscine's ({error}); name another") from error


def look(api: HfApi, repository: str, revision: str) -> ModelInfo:
    return ask(repository, lambda: api.model_info(repository, revision=revision, files_metadata=True))


def tagged(api: HfApi, publication: Publication) -> str | None:
    """The commit of the tag, if there is one: then it must hold these very files."""
    repository, tag = publication.repository, publication.tag
    try:
        info = look(api, repository, tag)
    except OscineError as error:
        if isinstance(error.__cause__, RevisionNotFoundError):
            return None
        raise
    if differ := differing(info, publication):
        raise OscineError(
            f"{tag} of {repository} names other files ({', '.join(differ)}), and a tag does not move; choose another tag"
        )
    return info.sha


def differing(info: ModelInfo, publication: Publication) -> list[str]:
    """Files that a commit does not hold as they are here, and those of an earlier publishing that it should not hold."""
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    files = publication.files.items()
    changed = [path for path, file in files if path not in there or not same(there[path], file)]
    return changed + stale(info, publication)


def same(sibling: RepoSibling, file: File) -> bool:
    if sibling.lfs:
        return sibling.lfs.sha256 == file.sha256
    return sibling.blob_id == git_hash(file.content if isinstance(file.content, bytes) else file.content.read_bytes())


def stale(info: ModelInfo, publication: Publication) -> list[str]:
    there = [sibling.rfilename for sibling in info.siblings or ()]
    return [path for path in there if path not in publication.files and publication.kind.ours.fullmatch(path)]


def commit_proven(api: HfApi, publication: Publication, main: ModelInfo) -> str:
    """A commit on `main` of files that were fetched again and compared before, on a branch that is not kept.

    No branch can be moved to a commit over the Hub's API, so `main` gets a commit of its own with the same files, by their
    hashes; what is large is not uploaded again.
    """
    repository, draft = publication.repository, publication.draft
    ask(repository, lambda: api.create_branch(repository, branch=draft, revision=main.sha, exist_ok=True))
    seen = look(api, repository, draft)
    if seen.sha != main.sha and not ask(repository, lambda: is_ours(api, publication, seen)):
        raise OscineError(
            f"somebody has worked on the branch {draft} of {repository}; take it away there, or choose another tag"
        )
    verify(publication, commit_files(api, publication, seen, draft))
    commit = commit_files(api, publication, main, MAIN)
    if differ := differing(look(api, repository, commit), publication):
        raise OscineError(f"{', '.join(differ)} came to {repository} as something else; publish again")
    return commit


def is_ours(api: HfApi, publication: Publication, draft: ModelInfo) -> bool:
    """Whether a draft has no commits but those of `main` and what publishing has made there."""
    repository, made = publication.repository, title(publication)
    main = {commit.commit_id for commit in api.list_repo_commits(repository)}
    log = api.list_repo_commits(repository, revision=draft.sha)
    return all(commit.commit_id in main or commit.title == made for commit in log)


def title(publication: Publication) -> str:
    return f"{publication.tag}, published with oscine"


def tidy(api: HfApi, publication: Publication) -> None:
    """Take the draft away, also one that an interrupted call has left, unless somebody else has worked on it."""
    repository, draft = publication.repository, publication.draft
    try:
        seen = look(api, repository, draft)
        if ask(repository, lambda: is_ours(api, publication, seen)):
            ask(repository, lambda: api.delete_branch(repository, branch=draft))
    except OscineError as error:
        if not isinstance(error.__cause__, RevisionNotFoundError):
            logger.info("the branch %s of %s may have stayed behind: %s", draft, repository, error)


def commit_files(api: HfApi, publication: Publication, seen: ModelInfo, branch: str) -> str:
    """One commit with all files, on top of what was seen of a branch; none where nothing differs."""
    repository = publication.repository

    def commit() -> str:
        info = api.model_info(repository, revision=branch, files_metadata=True)
        if not differing(info, publication):  # also where only the answer to the try before was lost
            return str(info.sha)
        added = [addition(path, file) for path, file in publication.files.items()]
        gone = [CommitOperationDelete(path) for path in stale(info, publication)]
        try:
            return api.create_commit(
                repository,
                [*added, *gone],
                commit_message=title(publication),
                commit_description=f"oscine {__version__}",
                revision=branch,
                parent_commit=seen.sha,
            ).oid
        except HfHubHTTPError as error:
            if error.response.status_code == PASSED_BY:
                raise OscineError(f"{repository} has changed since it was looked at; publish it again") from error
            raise

    return ask(repository, commit)


def addition(path: str, file: File) -> CommitOperationAdd:
    if isinstance(file.content, Path):
        file.content.stat()  # the client would speak of a refusal where there is no such file
    made = CommitOperationAdd(path, file.content)
    if made.upload_info.sha256.hex() != file.sha256:
        raise OscineError(f"{path} has changed while it was published; leave it alone, and publish again")
    return made


def verify(publication: Publication, commit: str) -> None:
    """Fetch a commit into an empty cache: every file must have its hash, and what is loaded must do the same."""
    repository = publication.repository
    with TemporaryDirectory(prefix="oscine-") as cache:
        for path, file in publication.files.items():
            found = file_hash(download(repository, path, commit, cache=Path(cache)))
            if found != file.sha256:
                raise OscineError(
                    f"{path} came back from {repository} with sha256 {found}, expected {file.sha256}; nothing is tagged: "
                    "publish it again"
                )
        publication.check(download(repository, publication.kind.mark, commit, cache=Path(cache)).parent)
