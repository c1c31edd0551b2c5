"""What a folder says about the probe in it, and the files that publish it with the encoder that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from oscine.cli.run_facts import read_data
from oscine.models.errors import OscineError
from oscine.models.facts import Data
from oscine.models.hub import CONFIG, WEIGHTS
from oscine.models.licences import choose_licence
from oscine.models.origin import source_of
from oscine.models.places import without_places
from oscine.models.probe_card import ProbeFacts, write_probe_card
from oscine.models.publication import CARD, RECORDS, Kind, Publication, file_of, score_files
from oscine.models.scores import Scores, read_scores
from oscine.models.weights import file_hash
from oscine.models.zoo import LOCAL
from oscine.probe.fitted import FittedProbe
from oscine.probe.saved import ENCODER, FACTS, TENSORS, load_probe, read_facts, save_probe

BESIDE = [f"{ENCODER}/{WEIGHTS}", f"{ENCODER}/{CONFIG}"]
PROBE = Kind(FACTS, lambda mark: read_facts(mark.parent), re.compile("|".join([RECORDS, *map(re.escape, BESIDE)])))


def find_probe(path: Path) -> Path | None:
    """The folder of the probe that a folder is or holds, if there is one."""
    path = Path(str(path).removeprefix(LOCAL))
    return next((folder for folder in (path, path / "probe") if (folder / FACTS).is_file()), None)


@contextmanager
def probe_publication(
    folder: Path,
    repository: str,
    tag: str,
    licence: str | None,
    data: Sequence[str],
    scores: Sequence[str],
    relicence: bool = False,
) -> Iterator[tuple[Path, Publication, ProbeFacts]]:
    """What publishes a saved probe: an encoder that is on the Hub by its commit, any other one beside the probe."""
    fitted = load_probe(folder)
    fitted = replace(fitted, fitted_on=without_places(fitted.fitted_on))
    known = dict(fitted.encoder.provenance or {})
    source = source_of(fitted.encoder)
    with TemporaryDirectory(prefix="oscine-") as temporary:
        beside = not known.get("repository")
        if beside:  # where it lies on this machine is nobody's business
            fitted.encoder.provenance = None
        saved = save_probe(fitted, temporary, with_encoder=beside)
        facts = ProbeFacts(
            repository,
            tag,
            fitted.encoder,
            file_hash(saved / TENSORS),
            choose_licence(licence, source, relicence),
            [read_data(text) for text in data] or [Data(str(task)) for task in [fitted.fitted_on.get("task")] if task],
            scores=[scores_of_probe(text, fitted, str(known.get("sha256"))) for text in scores],
            source=source,
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
        yield saved, publication_of(saved, facts, fitted, beside), facts


def scores_of_probe(text: str, fitted: FittedProbe, sha256: str) -> Scores:
    found, kind = read_scores(text, sha256), type(fitted.probe).__name__
    if found.probe != kind:
        raise OscineError(f"{text} judges a {found.probe}, this is a {kind}; give the scores of this one")
    return found


def publication_of(saved: Path, facts: ProbeFacts, fitted: FittedProbe, beside: bool) -> Publication:
    files = {
        TENSORS: file_of(saved / TENSORS),
        FACTS: file_of((saved / FACTS).read_bytes()),
        CARD: file_of(write_probe_card(facts).encode()),
    }
    if beside:
        files |= {path: file_of(saved / path) for path in BESIDE}
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
