"""From files to a name on the Hub: fetched again and compared before `main` has them, one commit there, a tag at the end.

Killed or cut off at any moment, the same call goes on: what was uploaded is not uploaded again, equal files are not
committed twice, and the tag comes last, on a commit whose files are, by their hashes, those that were fetched, loaded and
compared.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, GitRefInfo, HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoSibling

from oscine import __version__
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, git_hash
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.hub.origin import CARD
from oscine.models.publish.checks import check_needed, check_repository, check_sendable, check_token
from oscine.models.publish.contents import DRAFT, File, Publication, encoder_publication
from oscine.models.publish.facts import Data, Facts, Terms, encoder_facts
from oscine.models.publish.retry import ask, faults_here_in_one_line, fetch_again, look

logger = logging.getLogger(__name__)
MAIN = "main"
PASSED_BY = 412  # the status where another commit came in between
TITLE = ", published with oscine"  # behind the tag, of every commit that is made here


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
    dry_run: bool = False,
) -> str:
    """Publish an encoder as OWNER/NAME on the Hub, with a card, and return the commit that the tag names.

    licence: of the weights, as the Hub names it, or NAME=LINK; None keeps the one of the weights that it was loaded with, if
    they are somebody's. public: open the repository to everybody, at the very end. data: what the encoder was trained on, if
    it is not what those weights were. scores: FILE or FILE=OWNER/DATASET:TASK:METRIC, each a scores.json of `oscine probe`.
    relicence: the owners of those weights allow another licence. dry_run: send nothing and need no token; returned is a text
    of what would be published. `create_model("hf-hub:OWNER/NAME")` loads it.
    """
    with faults_here_in_one_line(), TemporaryDirectory(prefix="oscine-") as temporary:
        folder = save_pretrained(encoder, temporary)
        saved = load_pretrained(folder)
        facts = encoder_facts(saved, Terms(repository, tag, licence, data, scores, relicence))
        publication = encoder_publication(folder, facts)
        publication.check(folder)
        check_same_weights(encoder, saved)
        return would_publish(publication, facts, public) if dry_run else publish(publication, public).commit


def would_publish(publication: Publication, facts: Facts, public: bool = False) -> str:
    """What `publish` would send, as text: every file with its bytes, and the card. What must not go out is refused."""
    check_sendable(publication)
    seen, total = "public" if public else "private", sum(file.size for file in publication.files.values())
    card = publication.files[CARD].content
    lines = [
        f"would publish {facts.repository} {facts.tag}: {seen}, licence {facts.licence.text}",
        *(f"  {file.size:>15,}  {path}" for path, file in publication.files.items()),
        f"  {total:>15,}  bytes in {len(publication.files)} files\n",
        card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8"),
    ]
    return "\n".join(lines)


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
        check_sendable(publication)
        api = HfApi(library_name="oscine", library_version=__version__)
        check_token(api, repository)
        check_needed(api, publication, public)
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
        tidy(api, repository)
        if public and info.private:
            ask(repository, lambda: api.update_repo_settings(repository, visibility="public"))
    return Receipt(repository, tag, commit, public or not info.private)


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
    if seen.sha != main.sha and not ask(repository, lambda: is_ours(api, repository, str(seen.sha))):
        raise OscineError(
            f"somebody has worked on the branch {draft} of {repository}; take it away there, or choose another tag"
        )
    verify(publication, commit_files(api, publication, seen, draft))
    commit = commit_files(api, publication, main, MAIN)
    if differ := differing(look(api, repository, commit), publication):
        raise OscineError(f"{', '.join(differ)} came to {repository} as something else; publish again")
    return commit


def is_ours(api: HfApi, repository: str, draft: str) -> bool:
    """Whether a draft, by its last commit, has no commits but those of `main` and what publishing has made there."""
    main = {commit.commit_id for commit in api.list_repo_commits(repository)}
    log = api.list_repo_commits(repository, revision=draft)
    return all(commit.commit_id in main or commit.title.endswith(TITLE) for commit in log)


def tidy(api: HfApi, repository: str) -> None:
    """Take all drafts away, also what interrupted calls have left, unless somebody else has worked on them."""
    try:
        branches = ask(repository, lambda: api.list_repo_refs(repository)).branches
        for branch in branches:
            if branch.name.startswith(DRAFT):
                ask(repository, partial(take_away, api, repository, branch))
    except OscineError as error:
        logger.info("a draft in %s may have stayed behind: %s", repository, error)


def take_away(api: HfApi, repository: str, branch: GitRefInfo) -> None:
    if not is_ours(api, repository, branch.target_commit):
        return
    try:
        api.delete_branch(repository, branch=branch.name)
    except RevisionNotFoundError:
        logger.info("the draft %s of %s is gone already", branch.name, repository)


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
            # Several large files at once would go up in threads, where nobody bounds the waits for a busy Hub.
            large = [one for one in added if not isinstance(one.path_or_fileobj, bytes)]
            for one in large if len(large) > 1 else []:
                api.preupload_lfs_files(repository, [one], revision=branch, free_memory=False)
            return api.create_commit(
                repository,
                [*added, *gone],
                commit_message=publication.tag + TITLE,
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
    """Fetch a commit, and what it needs, into an empty cache: each file must have its hash, and all work as before."""
    repository, needed = publication.repository, publication.needed
    with TemporaryDirectory(prefix="oscine-") as temporary:
        cache = Path(temporary)
        check_hashes(repository, commit, {path: file.sha256 for path, file in publication.files.items()}, cache)
        if needed:
            check_hashes(needed.repository, needed.revision, needed.files, cache)
        publication.check(fetch_again(repository, publication.kind.mark, commit, cache).parent)


def check_hashes(repository: str, commit: str, expected: Mapping[str, str], cache: Path) -> None:
    for path, sha256 in expected.items():
        found = file_hash(fetch_again(repository, path, commit, cache))
        if found != sha256:
            raise OscineError(
                f"{path} came back from {repository} with sha256 {found}, expected {sha256}; nothing is tagged: "
                "publish it again"
            )
