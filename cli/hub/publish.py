"""`oscine publish RUN OWNER/NAME`: put an encoder or a probe on the Hub; print the rows that make it one of the zoo."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from oscine.cli.console.command import Help, Parser, say_loading
from oscine.models.checkpoints import find_file
from oscine.models.encoders.base.provenance import read_origin
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import WEIGHTS, check_folder
from oscine.models.publish.retry import disk_errors
from oscine.models.publish.scores import check_names, read_scores
from oscine.models.publish.terms import LICENCES, Terms, check_terms, choose_licence, parse_data
from oscine.pretrain.run.files import find_encoder
from oscine.probe.deploy.named_probe import check_probe, find_probe

if TYPE_CHECKING:
    from oscine.models.publish.contents import RepoContents
    from oscine.models.publish.facts import Facts
    from oscine.probe.deploy.fitted_probe import FittedProbe


def main(arguments: list[str]) -> None:
    made = Parser(
        prog="oscine publish",
        usage="oscine publish RUN OWNER/NAME --licence LICENCE [options]",
        description=inspect.getdoc(publish),
        formatter_class=Help,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="folder of a pretraining run, of an encoder, or of a probe")
    made.add_argument("repository", type=str, metavar="OWNER/NAME", help="on the Hub; made if it is not there")
    made.add_argument("--licence", type=str, help=f"of the weights: {', '.join(LICENCES)}, or NAME=LINK")
    made.add_argument(
        "--relicence", action="store_true", help="its owners allow --licence, though theirs asks for more"
    )
    made.add_argument("--tag", type=str, default="v1", help="that will name the commit; it never moves")
    made.add_argument("--data", nargs="+", type=str, default=[], metavar="NAME[=LICENCE]", help="it was trained on")
    made.add_argument(
        "--scores",
        nargs="+",
        type=str,
        default=[],
        metavar="FILE[=BOARD]",
        help="scores.json of oscine probe with these weights; with the leaderboard on the Hub that they belong to, as "
        "OWNER/DATASET:TASK:METRIC",
    )
    made.add_argument("--public", action="store_true", help="open the repository to everybody, when all is done")
    made.add_argument("--dry-run", action="store_true", help="show what would be published, send nothing")
    settings = made.parse_args(arguments)
    data = [parse_data(text) for text in settings.data]
    terms = Terms(settings.repository, settings.tag, settings.licence, data, settings.scores, settings.relicence)
    with disk_errors():
        check(settings.run, terms)
        say_loading("publish", str(settings.run))
        if probe := find_probe(settings.run):
            from oscine.probe.deploy.publish import probe_contents
            from oscine.probe.deploy.saved_probe import load_probe

            fitted = load_probe(probe)
            with probe_contents(fitted, with_own_scores(terms, probe, fitted)) as (folder, contents, facts):
                publish(folder, contents, facts, settings.public, settings.dry_run)
        else:
            from oscine.models.publish.contents import encoder_contents
            from oscine.pretrain.run.facts import gather_facts

            folder, known = gather_facts(settings.run, terms)
            publish(folder, encoder_contents(folder, known), known, settings.public, settings.dry_run)


def check(run: Path, terms: Terms) -> None:
    """Raise what arguments and files tell to be wrong, before torch is imported."""
    check_terms(terms.repository, terms.tag)
    if probe := find_probe(run):
        check_probe(probe)
        return
    _, folder = find_encoder(run)
    check_folder(folder)
    sha256 = file_hash(folder / WEIGHTS)
    if read_origin(folder) is None and find_file(sha256) is None:  # they are nobody else's
        choose_licence(terms.licence)
    check_names([read_scores(text, sha256) for text in terms.scores])


def with_own_scores(terms: Terms, probe: Path, fitted: FittedProbe) -> Terms:
    """Add what the run of a probe has found, unless that is given already, as it may be with a leaderboard."""
    from oscine.probe.deploy.publish import own_scores

    own, given = own_scores(probe, fitted), {Path(text.partition("=")[0]).resolve() for text in terms.scores}
    return terms if own is None or own.resolve() in given else terms._replace(scores=[str(own), *terms.scores])


def publish(folder: Path, contents: RepoContents, facts: Facts, public: bool, dry_run: bool) -> None:
    """Publish an encoder or a probe on the Hub under a name that anyone can load.

    Uploaded are weights, config, a card made from what the run has written down, the run's complete YAML, and scores:
    to a branch, from where they are fetched again into an empty cache and compared, hash by hash and feature by
    feature, before main gets them in one commit and a tag names it. The repository is private until --public opens it.
    A probe names its encoder, by commit, or brings it along where that is not on the Hub; the scores and settings of
    its run go along. Weights that began as somebody else's carry their licence along. Stopped at any moment, the same
    call goes on; once it is through, it changes nothing. Printed are the commit and, of an encoder, the rows for
    models/checkpoints.py and checkpoints.md.

    It needs a token that may write: hf auth login, or HF_TOKEN.
    """
    from oscine.models.publish.upload import publish as publish_to_hub
    from oscine.models.publish.upload import would_publish
    from oscine.models.publish.zoo_rows import zoo_rows
    from oscine.probe.deploy.card import ProbeFacts

    contents.check(folder)
    if dry_run:
        print(would_publish(contents, facts, public))
        return
    receipt = publish_to_hub(contents, public)
    seen = "public" if receipt.public else "private"
    print(f"{facts.repository} {facts.tag} ({seen}), commit {receipt.commit}")
    print(f"{len(contents.files)} files were fetched again: equal hashes, equal features")
    if isinstance(facts, ProbeFacts):
        print(f'load_probe("hf-hub:{facts.repository}@{receipt.commit}") loads it')
    else:
        print(f'create_model("hf-hub:{facts.repository}", revision="{receipt.commit}") loads it\n')
        print("\n".join(zoo_rows(facts, receipt)))
