"""What may be published, where, and by whom: refused before anything is made on the Hub, or covered up there."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import HfApi, ModelInfo, constants, get_token

from oscine.models.errors import OscineError
from oscine.models.publish.contents import Publication
from oscine.models.publish.publish_settings import check_terms
from oscine.models.publish.retry import ask, fetch_again, look

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


def check_sendable(publication: Publication) -> None:
    """What is wrong with names, and what must not go out, is known before anybody is asked."""
    check_terms(publication.repository, publication.tag)
    token = get_token()
    for path, file in publication.files.items():
        if path.endswith(".safetensors"):
            continue
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        if SECRET.search(content) or (token and token.encode() in content):
            raise OscineError(
                f"a token or a password stands in {path}; take it out where that comes from, and make a new one"
            )


def check_token(api: HfApi, repository: str) -> None:
    """A token that may write."""
    if constants.HF_HUB_OFFLINE:
        raise OscineError("publishing needs the Hub, and HF_HUB_OFFLINE=1 forbids to ask it; unset it")
    if get_token() is None:
        raise OscineError(f"publishing {repository} needs a token that may write: `hf auth login`, or set HF_TOKEN")
    role = (ask(repository, api.whoami).get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise OscineError(f"publishing {repository} needs a token that may write, yours may only read: `hf auth login`")


def check_needed(api: HfApi, publication: Publication, public: bool) -> None:
    """What it needs is still on the Hub, and open to whom it is opened."""
    repository, needed = publication.repository, publication.needed
    if needed is None:
        return
    try:
        info = look(api, needed.repository, needed.revision)
    except OscineError as error:
        raise OscineError(f"{repository} needs the encoder in {needed.repository}: {error}") from error
    if public and info.private:
        raise OscineError(
            f"{repository} would be open to everybody, but the encoder that it needs, {needed.repository}, is private; open "
            "that one first"
        )


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
        mark = fetch_again(repository, kind.mark, str(info.sha), Path(cache))
        try:
            kind.read(mark)
        except OscineError as error:
            raise OscineError(f"{repository} holds a model that is none of oscine's ({error}); name another") from error
