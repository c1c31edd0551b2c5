"""Upload files to a branch, fetch and compare them, commit them to `main` at once, and tag them.

Killed or cut off at any moment, the same call goes on: what was uploaded is not uploaded again, equal files are not
committed twice, and the tag comes last, on a commit whose files are, by their hashes, those that were fetched, loaded and
compared.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    GitRefInfo,
    HfApi,
    ModelInfo,
    constants,
    get_token,
)
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoSibling

from oscine import __version__
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, git_hash
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.hub.origin import CARD
from oscine.models.publish.contents import File, RepoContents, encoder_contents
from oscine.models.publish.facts import Facts, encoder_facts
from oscine.models.publish.retry import disk_errors, download_with_retry, repo_info, retry
from oscine.models.publish.terms import STAGING_PREFIX, Data, Terms, check_terms

logger = logging.getLogger(__name__)
MAIN = "main"
PRECONDITION_FAILED = 412  # the status where another commit came in between
TITLE = ", published with oscine"  # behind the tag, of every commit that is made here
# What gives access to something: found by the prefix that its issuer chose for that, or by the word before it.
SECRET = re.compile(
    rb"\bhf_\w{30,}"  # Hugging Face
    rb"|\bgh[opsur]_\w{36,}|\bgithub_pat_\w{50,}|\bglpat-[\w-]{20,}"  # GitHub, GitLab
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b|\bya29\.[\w-]{20,}|\bAccountKey=[\w+/=]{40,}"  # clouds
    rb"|\bsk-[\w-]{20,}|\bsk_live_\w{20,}|\bxox[abposr]-[\w-]{10,}|\bnpm_\w{36}\b|\bpypi-[\w-]{50,}"  # OpenAI, Stripe, Slack
    rb"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"  # a JSON web token
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b[a-z][a-z0-9+.-]*://[^/\s@:]+:[^/\s@]+@"  # a password in an address
    rb"|(?i:\b(?:authorization|bearer)\W{1,4}(?:bearer |basic )?[\w+/.=-]{20,})"
    rb"|(?i:(?:password|passwd|secret[_-]?(?:access[_-]?)?key|api[_-]?key|(?:access|auth)[_-]?token)"
    rb"[\"']?\s*[:=]\s*[\"']?[^\s\"']{8,})"
)


class Receipt(NamedTuple):
    """The repository, tag and commit of what was published, and whether all may see it."""

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
    with disk_errors(), TemporaryDirectory(prefix="oscine-") as temporary:
        folder = save_pretrained(encoder, temporary)
        saved = load_pretrained(folder)
        facts = encoder_facts(saved, Terms(repository, tag, licence, data, scores, relicence))
        contents = encoder_contents(folder, facts)
        contents.check(folder)
        check_same_weights(encoder, saved)
        return would_publish(contents, facts, public) if dry_run else publish(contents, public).commit


def would_publish(contents: RepoContents, facts: Facts, public: bool = False) -> str:
    """Show what `publish` would send: every file with its bytes, and the card. What must not go out is refused."""
    check_sendable(contents)
    seen, total = "public" if public else "private", sum(file.size for file in contents.files.values())
    card = contents.files[CARD].content
    lines = [
        f"would publish {facts.repository} {facts.tag}: {seen}, licence {facts.licence.text}",
        *(f"  {file.size:>15,}  {path}" for path, file in contents.files.items()),
        f"  {total:>15,}  bytes in {len(contents.files)} files\n",
        card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8"),
    ]
    return "\n".join(lines)


def check_same_weights(encoder: Encoder, saved: Encoder) -> None:
    """Raise unless what was saved is what is in memory, to the bit and in the same precision."""
    tensors = saved.state_dict()
    for name, tensor in encoder.state_dict().items():
        if tensor.dtype != tensors[name].dtype:
            raise OscineError(
                f"{name} is {tensor.dtype}, encoders are saved in {tensors[name].dtype}; call .float() first"
            )
        if not torch.equal(tensor.cpu(), tensors[name]):
            raise OscineError(f"{name} is not what was saved; leave the encoder alone while it is published")


def publish(contents: RepoContents, public: bool = False) -> Receipt:
    """Upload, fetch again, compare, commit to `main`, tag. A new repository is private until that is done.

    A tag never moves: one that names other files is an error. Every step can be done twice, so the whole can be, too.
    """
    repository, tag = contents.repository, contents.tag
    with disk_errors():
        check_sendable(contents)
        api = HfApi(library_name="oscine", library_version=__version__)
        check_token(api, repository)
        check_needed(api, contents, public)
        retry(repository, lambda: api.create_repo(repository, private=True, exist_ok=True))
        info = repo_info(api, repository, MAIN)
        check_repository(info, contents, public)
        commit = tagged(api, contents)
        if commit:
            verify(contents, commit)
        else:
            commit = stage_verify_commit(api, contents, info)
            retry(repository, lambda: api.create_tag(repository, tag=tag, revision=commit, exist_ok=True))
            if repo_info(api, repository, tag).sha != commit:
                raise OscineError(f"somebody else has just tagged {tag} of {repository}; choose another tag")
        delete_stale_branches(api, repository)
        if public and info.private:
            retry(repository, lambda: api.update_repo_settings(repository, visibility="public"))
    return Receipt(repository, tag, commit, public or not info.private)


def check_sendable(contents: RepoContents) -> None:
    """Refuse wrong names, and files that hold a token or a password, before the Hub is asked."""
    check_terms(contents.repository, contents.tag)
    token = get_token()
    for path, file in contents.files.items():
        if path.endswith(".safetensors"):
            continue
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        if SECRET.search(content) or (token and token.encode() in content):
            raise OscineError(
                f"a token or a password stands in {path}; take it out where that comes from, and make a new one"
            )


def check_token(api: HfApi, repository: str) -> None:
    """Raise where there is no token that may write."""
    if constants.HF_HUB_OFFLINE:
        raise OscineError("publishing needs the Hub, and HF_HUB_OFFLINE=1 forbids to ask it; unset it")
    if get_token() is None:
        raise OscineError(f"publishing {repository} needs a token that may write: `hf auth login`, or set HF_TOKEN")
    role = (retry(repository, api.whoami).get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise OscineError(f"publishing {repository} needs a token that may write, yours may only read: `hf auth login`")


def check_needed(api: HfApi, contents: RepoContents, public: bool) -> None:
    """Raise unless what it needs is on the Hub, and open to whoever may see it."""
    repository, needed = contents.repository, contents.needed
    if needed is None:
        return
    try:
        info = repo_info(api, needed.repository, needed.revision)
    except OscineError as error:
        raise OscineError(f"{repository} needs the encoder in {needed.repository}: {error}") from error
    if public and info.private:
        raise OscineError(
            f"{repository} would be open to everybody, but the encoder that it needs, {needed.repository}, is private; open "
            "that one first"
        )


def check_repository(info: ModelInfo, contents: RepoContents, public: bool) -> None:
    """Raise where somebody's work would be covered up, or something would become public, by mistake."""
    repository, kind = contents.repository, contents.kind
    if not info.private and not public:
        raise OscineError(f"{repository} is there and public; allow it (public), or name another repository")
    names = {sibling.rfilename for sibling in info.siblings or ()}
    if kind.mark not in names:
        if others := sorted(names - {".gitattributes"}):
            raise OscineError(f"{repository} holds {others[0]}, which is none of oscine's; name another")
        return
    with TemporaryDirectory(prefix="oscine-") as cache, torch.device("meta"):
        mark = download_with_retry(repository, kind.mark, str(info.sha), Path(cache))
        try:
            kind.read(mark)
        except OscineError as error:
            raise OscineError(f"{repository} holds a model that is none of oscine's ({error}); name another") from error


def tagged(api: HfApi, contents: RepoContents) -> str | None:
    """Return the commit of the tag, if there is one: then it must hold these very files."""
    repository, tag = contents.repository, contents.tag
    try:
        info = repo_info(api, repository, tag)
    except OscineError as error:
        if isinstance(error.__cause__, RevisionNotFoundError):
            return None
        raise
    if differ := changed_files(info, contents):
        raise OscineError(
            f"{tag} of {repository} names other files ({', '.join(differ)}), and a tag does not move; choose another tag"
        )
    return info.sha


def changed_files(info: ModelInfo, contents: RepoContents) -> list[str]:
    """List files that a commit holds otherwise or lacks, and those of an earlier publishing that should go."""
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    files = contents.files.items()
    changed = [path for path, file in files if path not in there or not is_same(there[path], file)]
    return changed + stale(info, contents)


def is_same(sibling: RepoSibling, file: File) -> bool:
    if sibling.lfs:
        return sibling.lfs.sha256 == file.sha256
    return sibling.blob_id == git_hash(file.content if isinstance(file.content, bytes) else file.content.read_bytes())


def stale(info: ModelInfo, contents: RepoContents) -> list[str]:
    there = [sibling.rfilename for sibling in info.siblings or ()]
    return [path for path in there if path not in contents.files and contents.kind.ours.fullmatch(path)]


def stage_verify_commit(api: HfApi, contents: RepoContents, main: ModelInfo) -> str:
    """Commit files to `main` once they were fetched again and compared on a branch that is not kept.

    No branch can be moved to a commit over the Hub's API, so `main` gets a commit of its own with the same files, by their
    hashes; what is large is not uploaded again.
    """
    repository, draft = contents.repository, contents.draft
    retry(repository, lambda: api.create_branch(repository, branch=draft, revision=main.sha, exist_ok=True))
    seen = repo_info(api, repository, draft)
    if seen.sha != main.sha and not retry(repository, lambda: is_ours(api, repository, str(seen.sha))):
        raise OscineError(
            f"somebody has worked on the branch {draft} of {repository}; take it away there, or choose another tag"
        )
    verify(contents, commit_files(api, contents, seen, draft))
    commit = commit_files(api, contents, main, MAIN)
    if differ := changed_files(repo_info(api, repository, commit), contents):
        raise OscineError(f"{', '.join(differ)} came to {repository} as something else; publish again")
    return commit


def is_ours(api: HfApi, repository: str, draft: str) -> bool:
    """Return whether a draft, by its last commit, has no commits but `main`'s and those of publishing."""
    main = {commit.commit_id for commit in api.list_repo_commits(repository)}
    log = api.list_repo_commits(repository, revision=draft)
    return all(commit.commit_id in main or commit.title.endswith(TITLE) for commit in log)


def delete_stale_branches(api: HfApi, repository: str) -> None:
    """Delete all drafts, also those of interrupted calls, unless somebody else has worked on them."""
    try:
        for branch in retry(repository, lambda: api.list_repo_refs(repository)).branches:
            if branch.name.startswith(STAGING_PREFIX):
                retry(repository, partial(delete_branch_if_ours, api, repository, branch))
    except OscineError as error:
        logger.info("a draft in %s may have stayed behind: %s", repository, error)


def delete_branch_if_ours(api: HfApi, repository: str, branch: GitRefInfo) -> None:
    if not is_ours(api, repository, branch.target_commit):
        return
    try:
        api.delete_branch(repository, branch=branch.name)
    except RevisionNotFoundError:
        logger.info("the draft %s of %s is gone already", branch.name, repository)


def commit_files(api: HfApi, contents: RepoContents, seen: ModelInfo, branch: str) -> str:
    """Make one commit of all files on what was seen of a branch; none where nothing differs."""
    repository = contents.repository

    def commit() -> str:
        info = api.model_info(repository, revision=branch, files_metadata=True)
        if not changed_files(info, contents):  # also where only the answer to the try before was lost
            return str(info.sha)
        added = [commit_operation(path, file) for path, file in contents.files.items()]
        gone = [CommitOperationDelete(path) for path in stale(info, contents)]
        try:
            # Several large files at once would go up in threads, where nobody bounds the waits for a busy Hub.
            large = [one for one in added if not isinstance(one.path_or_fileobj, bytes)]
            for one in large if len(large) > 1 else []:
                api.preupload_lfs_files(repository, [one], revision=branch, free_memory=False)
            return api.create_commit(
                repository,
                [*added, *gone],
                commit_message=contents.tag + TITLE,
                commit_description=f"oscine {__version__}",
                revision=branch,
                parent_commit=seen.sha,
            ).oid
        except HfHubHTTPError as error:
            if error.response.status_code == PRECONDITION_FAILED:
                raise OscineError(f"{repository} has changed since it was looked at; publish it again") from error
            raise

    return retry(repository, commit)


def commit_operation(path: str, file: File) -> CommitOperationAdd:
    if isinstance(file.content, Path):
        file.content.stat()  # the client would speak of a refusal where there is no such file
    made = CommitOperationAdd(path, file.content)
    if made.upload_info.sha256.hex() != file.sha256:
        raise OscineError(f"{path} has changed while it was published; leave it alone, and publish again")
    return made


def verify(contents: RepoContents, commit: str) -> None:
    """Fetch a commit, and what it needs, into an empty cache; raise unless all hashes fit and all works as before."""
    repository, needed = contents.repository, contents.needed
    with TemporaryDirectory(prefix="oscine-") as temporary:
        cache = Path(temporary)
        check_hashes(repository, commit, {path: file.sha256 for path, file in contents.files.items()}, cache)
        if needed:
            check_hashes(needed.repository, needed.revision, needed.files, cache)
        contents.check(download_with_retry(repository, contents.kind.mark, commit, cache).parent)


def check_hashes(repository: str, commit: str, expected: Mapping[str, str], cache: Path) -> None:
    for path, sha256 in expected.items():
        found = file_hash(download_with_retry(repository, path, commit, cache))
        if found != sha256:
            raise OscineError(
                f"{path} came back from {repository} with sha256 {found}, expected {sha256}; nothing is tagged: "
                "publish it again"
            )
