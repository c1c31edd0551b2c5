"""A fitted probe to the Hub: with its encoder, or with the name of one that is there already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from oscine.models.asking import faults_here_in_one_line
from oscine.models.errors import OscineError
from oscine.models.facts import Data
from oscine.models.licences import check_allowed, choose_licence
from oscine.models.origin import asked_again, origin_of
from oscine.models.places import without_places
from oscine.models.publication import CARD, RECORDS, Kind, Publication, file_of, score_files
from oscine.models.publish import publish
from oscine.models.scores import Scores, read_scores
from oscine.models.source import SOURCE
from oscine.models.weights import file_hash
from oscine.models.zoo import LOCAL
from oscine.probe.card import ProbeFacts, write_probe_card
from oscine.probe.fitted import FittedProbe
from oscine.probe.saved import BESIDE, FACTS, TENSORS, load_probe, origin_of_probe, read_facts, save_probe

PROBE = Kind(FACTS, lambda mark: read_facts(mark.parent), re.compile("|".join([RECORDS, *map(re.escape, BESIDE)])))


def push_probe_to_hub(
    fitted: FittedProbe,
    repository: str,
    licence: str | None = None,
    tag: str = "v1",
    public: bool = False,
    data: Sequence[Data] = (),
    scores: Sequence[str] = (),
    relicence: bool = False,
) -> str:
    """Publish a fitted probe as OWNER/NAME on the Hub, with a card, and return the commit that the tag names.

    An encoder that is on the Hub goes along by its commit, any other one with its weights. Arguments as in `push_to_hub`;
    data: by default the task that it was fitted on. `load_probe("hf-hub:OWNER/NAME")` loads it.
    """
    with (
        faults_here_in_one_line(),
        probe_publication(fitted, repository, tag, licence, data, scores, relicence) as (folder, publication, _),
    ):
        publication.check(folder)
        return publish(publication, public).commit


@contextmanager
def probe_publication(
    fitted: FittedProbe,
    repository: str,
    tag: str,
    licence: str | None,
    data: Sequence[Data] = (),
    scores: Sequence[str] = (),
    relicence: bool = False,
) -> Iterator[tuple[Path, Publication, ProbeFacts]]:
    """What publishes a probe, and the folder in which its files lie for the time being."""
    known, origin = dict(fitted.encoder.provenance or {}), asked_again(origin_of(fitted.encoder))
    taken_from = asked_again(origin_of_probe(fitted))
    chosen = choose_licence(licence, taken_from or origin, relicence, added=not taken_from)
    if taken_from and origin and not relicence:  # of which neither may be forgotten
        check_allowed(chosen, origin, added=True)
    found = [scores_of_probe(text, fitted) for text in scores]
    beside = not known.get("repository")
    task = without_places(fitted.fitted_on.get("task"))
    with TemporaryDirectory(prefix="oscine-") as temporary:
        saved = save_probe(without_place(fitted), temporary, with_encoder=beside)
        fitted = load_probe(saved)
        facts = ProbeFacts(
            repository,
            tag,
            fitted.encoder,
            file_hash(saved / TENSORS),
            chosen,
            data or ([Data(str(task))] if task else []),
            scores=found,
            origin=origin,
            taken_from=taken_from,
            probe=type(fitted.probe).__name__,
            head=fitted.head,
            classes=fitted.classes,
            seconds=fitted.seconds,
            single_label=fitted.single_label,
            calibrated=fitted.scaling is not None,
            thresholds=fitted.thresholds is not None,
            fitted_on=fitted.fitted_on,
            means=fitted.scores,
            encoder_name="in `encoder/`" if beside else f"`{known['repository']}` at `{known['revision']}`",
        )
        yield saved, publication_of(saved, facts, fitted), facts


def without_place(fitted: FittedProbe) -> FittedProbe:
    """The same, not saying where anything lies on this machine."""
    encoder = copy(fitted.encoder)
    if str((encoder.provenance or {}).get("model")).startswith(LOCAL):
        encoder.provenance = None
    return replace(fitted, encoder=encoder, fitted_on=without_places(fitted.fitted_on))


def scores_of_probe(text: str, fitted: FittedProbe) -> Scores:
    """A scores.json of the weights that the probe was fitted on, or fine-tuned from."""
    tuning = fitted.fitted_on.get("finetuned")
    judged = (tuning.get("began_with") if tuning else fitted.encoder.provenance) or {}
    found, kind = read_scores(text, str(judged.get("sha256")), bool(tuning)), type(fitted.probe).__name__
    if found.probe != kind:
        raise OscineError(f"{text} judges a {found.probe}, this is a {kind}; give the scores of this one")
    return found


def publication_of(saved: Path, facts: ProbeFacts, fitted: FittedProbe) -> Publication:
    files = {
        TENSORS: file_of(saved / TENSORS),
        FACTS: file_of((saved / FACTS).read_bytes()),
        CARD: file_of(write_probe_card(facts).encode()),
    }
    files |= {path: file_of(saved / path) for path in (SOURCE, *BESIDE) if (saved / path).exists()}
    files |= score_files(facts)
    return Publication(facts.repository, facts.tag, files, partial(check_same_probabilities, fitted), PROBE)


def check_same_probabilities(fitted: FittedProbe, folder: Path) -> None:
    """What a folder holds loads strictly, with its encoder, and says the same of a clip, to the bit; nothing is NaN."""
    loaded = load_probe(folder)
    noise = 0.1 * torch.randn(1, fitted.samples, generator=torch.Generator().manual_seed(0))
    ours, theirs = fitted(noise), loaded(noise)
    if not ours.isfinite().all():
        raise OscineError("the probe's probabilities are not finite; its weights are broken and nothing to publish")
    if not torch.equal(ours, theirs) or fitted.classes != loaded.classes:
        raise OscineError(f"the probe in {folder} says something else than the one to publish; save it again")
