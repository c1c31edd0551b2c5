"""Publish a fitted probe on the Hub, with its encoder or the name of one that is there already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub.utils import yaml_dump

from oscine.models.checkpoints import find_published
from oscine.models.encoders.base.provenance import SOURCE
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, strip_local_paths
from oscine.models.hub.download import fetch
from oscine.models.hub.encoder_files import CONFIG, SETTINGS, WEIGHTS
from oscine.models.hub.model_name import ModelName
from oscine.models.hub.origin import origin_of, refresh_licence
from oscine.models.publish.contents import (
    CARD,
    OPTIONAL_FILES,
    Dependency,
    RepoContents,
    RepoKind,
    file_of,
    score_files,
)
from oscine.models.publish.retry import disk_errors
from oscine.models.publish.scores import Scores, check_names, read_scores
from oscine.models.publish.terms import Data, Terms, check_allowed, choose_licence
from oscine.models.publish.upload import publish, would_publish
from oscine.probe.deploy.card import ProbeFacts, write_probe_card
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.probe_json import BESIDE, FACTS, SCORES, TENSORS, read_facts
from oscine.probe.deploy.saved_probe import load_probe, origin_of_probe, save_probe

PROBE = RepoKind(
    FACTS, lambda mark: read_facts(mark.parent), re.compile("|".join([OPTIONAL_FILES, *map(re.escape, BESIDE)]))
)


def push_probe_to_hub(
    fitted: FittedProbe,
    repository: str,
    licence: str | None = None,
    tag: str = "v1",
    public: bool = False,
    data: Sequence[Data] = (),
    scores: Sequence[str] = (),
    relicence: bool = False,
    dry_run: bool = False,
) -> str:
    """Publish a fitted probe as OWNER/NAME on the Hub, with a card, and return the commit that the tag names.

    An encoder that is on the Hub goes along by its commit, any other one with its weights. Arguments as in `push_to_hub`;
    data: by default the task that it was fitted on. `load_probe("hf-hub:OWNER/NAME")` loads it.
    """
    terms = Terms(repository, tag, licence, data, scores, relicence)
    with disk_errors(), probe_contents(fitted, terms) as (folder, contents, facts):
        contents.check(folder)
        return would_publish(contents, facts, public) if dry_run else publish(contents, public).commit


@contextmanager
def probe_contents(fitted: FittedProbe, terms: Terms) -> Iterator[tuple[Path, RepoContents, ProbeFacts]]:
    """Prepare what publishes a probe, and the folder in which its files lie for the time being."""
    encoder_origin, probe_origin = refresh_licence(origin_of(fitted.encoder)), refresh_licence(origin_of_probe(fitted))
    chosen = choose_licence(terms.licence, probe_origin or encoder_origin, terms.relicence, added=not probe_origin)
    if probe_origin and encoder_origin and not terms.relicence:  # of which neither may be forgotten
        check_allowed(chosen, encoder_origin, added=True)
    found = [scores_of_probe(text, fitted) for text in terms.scores]
    check_names(found)
    needed = encoder_on_the_hub(fitted)
    task = strip_local_paths(fitted.fitted_on.get("task"))
    with TemporaryDirectory(prefix="oscine-") as temporary:
        saved = save_probe(without_local_paths(fitted), temporary, with_encoder=needed is None)
        fitted = load_probe(saved)
        facts = ProbeFacts(
            terms.repository,
            terms.tag,
            fitted.encoder,
            file_hash(saved / TENSORS),
            chosen,
            terms.data or ([Data(str(task))] if task else []),
            scores=found,
            encoder_origin=encoder_origin,
            probe_origin=probe_origin,
            settings=next(
                (yaml_dump(one.settings, sort_keys=False) for one in found if scores_match(one, fitted)), None
            ),
            fitted=fitted,
            encoder_name=f"`{needed.repository}` at `{needed.revision}`" if needed else "in `encoder/`",
        )
        yield saved, contents_of(saved, facts, fitted, needed), facts


def encoder_on_the_hub(fitted: FittedProbe) -> Dependency | None:
    """Find the files of the encoder, if they can be had from a repository, as they are in the cache."""
    known = fitted.encoder.provenance or {}
    repository, revision, row = known.get("repository"), known.get("revision"), find_published(str(known.get("model")))
    if not repository or not revision:
        return None
    files = [row.file] if row else [CONFIG, WEIGHTS]
    return Dependency(repository, revision, {file: fetch(repository, file, revision).sha256 for file in files})


def without_local_paths(fitted: FittedProbe) -> FittedProbe:
    """Return the same, not saying where anything lies on this machine."""
    encoder = copy(fitted.encoder)
    if ModelName.parse((encoder.provenance or {}).get("model")).on_disk:
        encoder.provenance = None
    return replace(fitted, encoder=encoder, fitted_on=strip_local_paths(fitted.fitted_on))


def scores_of_probe(text: str, fitted: FittedProbe) -> Scores:
    """Read a scores.json of the weights that the probe was fitted on, or fine-tuned from."""
    tuning = fitted.fitted_on.get("finetuned")
    judged = (tuning.get("began_with") if tuning else fitted.encoder.provenance) or {}
    found, kind = read_scores(text, str(judged.get("sha256")), bool(tuning)), type(fitted.probe).__name__
    if found.probe != kind:
        raise OscineError(f"{text} judges a {found.probe}, this is a {kind}; give the scores of this one")
    return found


def scores_match(found: Scores, fitted: FittedProbe) -> bool:
    """Return whether scores are of this very probe: the same classes and, to the last digit, the same means."""
    content = json.loads(found.content)
    return bool(content.get("classes") == fitted.classes and content["mean"] == fitted.scores)


def own_scores(folder: Path, fitted: FittedProbe) -> Path | None:
    """Return the scores.json beside the folder of a probe, if `oscine probe` wrote both; raise if it is of another."""
    path = folder.parent / SCORES
    if folder.name != "probe" or not path.is_file():
        return None
    if not scores_match(scores_of_probe(str(path), fitted), fitted):
        raise OscineError(
            f"{path} judges another probe than {folder}; run oscine probe again, or publish a copy of the latter"
        )
    return path


def contents_of(saved: Path, facts: ProbeFacts, fitted: FittedProbe, needed: Dependency | None) -> RepoContents:
    files = {
        TENSORS: file_of(saved / TENSORS),
        FACTS: file_of((saved / FACTS).read_bytes()),
        CARD: file_of(write_probe_card(facts).encode()),
    }
    files |= {path: file_of(saved / path) for path in (SOURCE, *BESIDE) if (saved / path).exists()}
    files |= score_files(facts)
    if facts.settings:
        files[SETTINGS] = file_of(facts.settings.encode())
    return RepoContents(facts.repository, facts.tag, files, partial(check_same_probabilities, fitted), PROBE, needed)


def check_same_probabilities(fitted: FittedProbe, folder: Path) -> None:
    """Raise unless a folder loads strictly and says the same of a clip, to the bit, without NaN."""
    loaded = load_probe(folder)
    noise = 0.1 * torch.randn(1, fitted.samples, generator=torch.Generator().manual_seed(0))
    ours, theirs = fitted(noise), loaded(noise)
    if not ours.isfinite().all():
        raise OscineError("the probe's probabilities are not finite; its weights are broken and nothing to publish")
    if not torch.equal(ours, theirs) or fitted.classes != loaded.classes:
        raise OscineError(f"the probe in {folder} says something else than the one to publish; save it again")
