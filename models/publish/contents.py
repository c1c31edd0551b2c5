"""Collect what goes to the Hub: files with their hashes, and the proof that what is loaded from them works."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import SOURCE
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import CONFIG, SETTINGS, WEIGHTS
from oscine.models.hub.folder import read_config, read_weights
from oscine.models.hub.origin import CARD
from oscine.models.publish.card import benchmark_file, write_card
from oscine.models.publish.facts import Facts
from oscine.models.publish.terms import STAGING_PREFIX


class File(NamedTuple):
    """A file to publish, and its sha256 when it was found good: what it holds later is not published by mistake."""

    content: Path | bytes
    sha256: str

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def file_of(content: Path | bytes) -> File:
    return File(content, file_hash(content) if isinstance(content, Path) else sha256(content).hexdigest())


class Dependency(NamedTuple):
    """Files of another repository, by their sha256, without which what is published is of no use."""

    repository: str
    revision: str
    files: Mapping[str, str]


class RepoKind(NamedTuple):
    """A kind of repository: how it is known and read.

    mark: the file by which it is known. read: takes that file and raises an OscineError unless it is as oscine writes it.
    ours: files that an earlier publishing may have left, and the next one does not have any more.
    """

    mark: str
    read: Callable[[Path], object]
    ours: re.Pattern[str]


OPTIONAL_FILES = r"settings\.yaml|source\.json|scores/[^/]+\.json|\.eval_results/oscine_[^/]+\.yaml"
ENCODER = RepoKind(CONFIG, read_config, re.compile(OPTIONAL_FILES))


class RepoContents(NamedTuple):
    """All files that go to the Hub, and the proof that they work.

    files: by their path in the repository. check: takes a folder with these files, as fetched from the Hub, and raises an
    OscineError unless what is loaded from it does what the original does. needed: what that finds elsewhere on the Hub.
    """

    repository: str
    tag: str
    files: Mapping[str, File]
    check: Callable[[Path], None]
    kind: RepoKind = ENCODER
    needed: Dependency | None = None

    @property
    def draft(self) -> str:
        """The branch that it is tried on: nobody else's can have this name, which is made of all that is published."""
        hashes = {path: file.sha256 for path, file in self.files.items()}
        told = json.dumps([self.repository, self.tag, hashes], sort_keys=True)
        return f"{STAGING_PREFIX}{sha256(told.encode()).hexdigest()[:16]}"


def encoder_contents(folder: Path, facts: Facts) -> RepoContents:
    """Collect the encoder in a folder that `save_pretrained` wrote, with the card and records that its facts make."""
    files = {
        WEIGHTS: File(folder / WEIGHTS, facts.published_sha256),
        CONFIG: file_of((folder / CONFIG).read_bytes()),
        CARD: file_of(write_card(facts).encode()),
    }
    if facts.run and facts.run.settings:
        files[SETTINGS] = file_of(facts.run.settings.encode())
    if facts.encoder_origin:
        files[SOURCE] = file_of(facts.encoder_origin.as_json())
    check = partial(check_same_features, facts.encoder)
    return RepoContents(facts.repository, facts.tag, files | score_files(facts), check)


def score_files(facts: Facts) -> dict[str, File]:
    """Collect every scores.json, and its entry for the leaderboard that it belongs to."""
    files = {}
    for score in facts.scores:
        files[f"scores/{score.name}.json"] = file_of(score.content)
        if benchmark := benchmark_file(facts, score):
            files[f".eval_results/oscine_{score.name}.yaml"] = file_of(benchmark.encode())
    return files


def check_same_features(encoder: Encoder, folder: Path) -> None:
    """Raise unless a folder loads strictly and gives an encoder's features, to the bit and finite."""
    loaded = read_weights(folder)
    noise = 0.1 * torch.randn(1, encoder.samples, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = encoder(noise), loaded(noise)
    if not all(tensor.isfinite().all() for tensor in ours):
        raise OscineError("the encoder's features are not finite; its weights are broken and nothing to publish")
    if not all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)):
        raise OscineError(f"the encoder in {folder} gives other features than the one to publish; save it again")
