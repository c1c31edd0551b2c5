"""`oscine publish RUN OWNER/NAME`: an encoder to the Hub, and the rows that make it one of the zoo."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import torch

from oscine.cli.command import Help, Parser
from oscine.cli.run_facts import gather
from oscine.models.card import write_card
from oscine.models.facts import LICENCES, Facts
from oscine.models.hub import WEIGHTS
from oscine.models.publish import Publication, Receipt, encoder_publication
from oscine.models.publish import publish as publish_to_hub
from oscine.models.zoo import ARCHITECTURES, Published, create_model

STATE = "real file"  # of a row whose file has been fetched and compared


def main(arguments: list[str]) -> None:
    made = Parser(
        prog="oscine publish",
        usage="oscine publish RUN OWNER/NAME --licence LICENCE [options]",
        description=inspect.getdoc(publish),
        formatter_class=Help,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="folder of a pretraining run or of an encoder")
    made.add_argument("repository", type=str, metavar="OWNER/NAME", help="on the Hub; made if it is not there")
    made.add_argument("--licence", type=str, help=f"of the weights: {', '.join(LICENCES)}, or NAME=LINK")
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
    made.add_argument("--dry-run", action="store_true", help="show what would be published, ask nobody, send nothing")
    settings = made.parse_args(arguments)
    folder, facts = gather(
        settings.run, settings.repository, settings.tag, settings.licence, settings.data, settings.scores
    )
    publish(folder, facts, settings.public, settings.dry_run)


def publish(folder: Path, facts: Facts, public: bool, dry_run: bool) -> None:
    """Publish an encoder on the Hub under a name that anyone can load.

    Uploaded are weights, config, a card made from what the run has written down, the run's complete YAML, and scores: in
    one commit, which is fetched again into an empty cache and compared, hash by hash and feature by feature, before a tag
    names it. The repository is private until --public opens it. Stopped at any moment, the same call goes on; once it is
    through, it changes nothing. Printed are the commit and the rows for models/zoo.py and checkpoints.md.

    It needs a token that may write: hf auth login, or HF_TOKEN.
    """
    publication = encoder_publication(folder, facts)
    publication.check(folder)
    if dry_run:
        show(publication, facts, public)
        return
    receipt = publish_to_hub(publication, public)
    seen = "public" if receipt.public else "private"
    print(f"{facts.repository} {facts.tag} ({seen}), commit {receipt.commit}")
    print(f"{len(publication.files)} files were fetched again: equal hashes, equal features")
    print(f'create_model("hf-hub:{facts.repository}", revision="{receipt.commit}") loads it\n')
    print("\n".join(rows(facts, receipt)))


def show(publication: Publication, facts: Facts, public: bool) -> None:
    seen = "public" if public else "private"
    print(f"would publish {facts.repository} {facts.tag}: {seen}, licence {facts.licence.name}")
    sizes = {
        path: content.stat().st_size if isinstance(content, Path) else len(content)
        for path, content in publication.files.items()
    }
    for path, size in sizes.items():
        print(f"  {size:>15,}  {path}")
    print(f"  {sum(sizes.values()):>15,}  bytes in {len(sizes)} files\n")
    print(write_card(facts))


def rows(facts: Facts, receipt: Receipt) -> list[str]:
    """What to paste, so that `create_model` knows the encoder by a name of the zoo."""
    architecture = facts.source.model.partition(".")[0] if facts.source else architecture_of(facts)
    data = ", ".join(one.name for one in facts.data) or "not stated"
    row = Published(
        facts.source.model if facts.source else f"{architecture}.{slug(facts.data[0].name if facts.data else facts.name)}",
        data, WEIGHTS, facts.licence.name, STATE, facts.repository, receipt.commit, facts.sha256,
    )  # fmt: skip
    encoder = facts.encoder
    millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    paper = ARCHITECTURES[architecture].paper if architecture in ARCHITECTURES else f"arXiv {facts.paper}"
    new = [] if architecture in ARCHITECTURES else [
        "models/zoo.py, ARCHITECTURES:",
        f'    "{architecture}": Architecture({facts.kind}, {encoder.config}, "{paper}"),',
    ]  # fmt: skip
    return [
        *new,
        "models/zoo.py, PUBLISHED:",
        f"    Published({', '.join(json.dumps(value) for value in row)}),",
        "checkpoints.md, where they are:",
        f"| `{row.name}` | `{row.repository}` | `{row.revision}` | `{row.file}` | `{row.sha256}` | {row.licence} |",
        "checkpoints.md, what they are:",
        f"| `{row.name}` | {paper} | {data} | {encoder.sample_rate / 1000:g} kHz | {encoder.seconds:g} s | "
        f"{millions:.1f} M | {row.state} |",
    ]


def architecture_of(facts: Facts) -> str:
    """The zoo's name of these sizes and settings, or the repository's where the zoo has none."""
    for name, architecture in ARCHITECTURES.items():
        if architecture.encoder is type(facts.encoder):
            with torch.device("meta"):
                if create_model(name).config == facts.encoder.config:
                    return name
    return slug(facts.name)


def slug(name: str) -> str:
    """A name's last part, as names of the zoo are written."""
    return re.sub(r"\W+", "_", name.rpartition("/")[2].lower()).strip("_")
