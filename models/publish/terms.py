"""Read and check what whoever publishes states: name, tag, licence, data and scores; without torch or a network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from oscine.models.compat import check_repository_name
from oscine.models.encoders.base.provenance import NOT_KNOWN, NOT_STATED, Origin
from oscine.models.errors import OscineError
from oscine.models.files import strip_local_paths
from oscine.models.json_text import fits, read_json

STAGING_PREFIX = "oscine-draft-"  # branches that are made and taken away while publishing
# What git takes for a tag, and nobody for a branch or a commit.
TAG = re.compile(rf"(?!main$|{STAGING_PREFIX}|[0-9a-f]{{40}}$|.*\.lock$)\w+([.-]\w+)*", re.ASCII)

FREE = "cc0-1.0"  # asks for nothing
NAMED = (  # licences under which it is said whose weights these are
    "apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
    "openrail",
)  # fmt: skip
# Licences that can be chosen, by the Hub's names, with those under which weights may go on that were trained further.
LICENCES: dict[str, tuple[str, ...]] = {
    "apache-2.0": NAMED,
    "mit": NAMED,
    "bsd-3-clause": NAMED,
    FREE: (),  # any
    "cc-by-4.0": NAMED,
    "cc-by-sa-4.0": ("cc-by-sa-4.0",),
    "cc-by-nc-4.0": ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    "cc-by-nc-sa-4.0": ("cc-by-nc-sa-4.0",),
    "cc-by-nc-nd-4.0": (),
    "openrail": ("openrail",),
}
# Names that the Hub takes (huggingface.co/docs/hub/repositories-licenses); any other one goes there as "other".
ON_THE_HUB = set(
    """
    apache-2.0 mit openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc
    cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl
    gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl osl-3.0 postgresql ofl-1.1 ncsa
    unlicense zlib pddl lgpl-lr deepfloyd-if-license
    """.split()
)
# What authors state, as the Hub names it. Audio-MAE's two statements differ: the stricter holds.
STATED = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC BY-NC 4.0 (README: CC BY 4.0)": "cc-by-nc-4.0"}

UNCLEAR = {
    NOT_KNOWN: "it is not known what {} is under",
    NOT_STATED: "the authors of {} have stated none, which allows nothing",
}
PLACES = (
    "settings",
    "weights",
    "recordings",
)  # sections of a scores.json in which paths stand; a class may look like one


class Data(NamedTuple):
    """What an encoder was pretrained on."""

    name: str  # OWNER/DATASET where it is on the Hub
    licence: str = NOT_STATED


class Terms(NamedTuple):
    """Hold what whoever publishes states: name, tag, licence, data and scores."""

    repository: str
    tag: str = "v1"
    licence: str | None = None  # of the weights, as the Hub names it, or NAME=LINK; None keeps what they came under
    data: Sequence[Data] = ()
    scores: Sequence[str] = ()  # as `read_scores` takes them
    relicence: bool = False  # the owners of the weights that these began with allow it


def parse_data(text: str) -> Data:
    """Read NAME or NAME=LICENCE."""
    name, _, licence = text.partition("=")
    return Data(name, licence) if licence else Data(name)


def check_terms(repository: str, tag: str) -> None:
    """Raise where something cannot be published under that name and tag."""
    check_repository_name(repository)
    if "/" not in repository:
        raise OscineError(f"{repository!r} is not the name of a repository; expected owner/name")
    if not TAG.fullmatch(tag):
        raise OscineError(
            f"{tag!r} cannot be a tag; expected letters, digits, '.', '-' and '_', such as v2, and not main"
        )


class Licence(NamedTuple):
    """Of the weights, as the Hub names it; with a link where it has no name for it."""

    name: str
    link: str | None = None

    @property
    def other(self) -> bool:
        """Whether the Hub has no name for it."""
        return self.link is not None or self.name not in ON_THE_HUB

    @property
    def text(self) -> str:
        """As it is given and stated."""
        return f"{self.name}={self.link}" if self.link else self.name


def choose_licence(
    text: str | None, origin: Origin | None = None, relicence: bool = False, added: bool = False
) -> Licence:
    """Choose the licence that was given, or else the weights' own; raise where their owners do not allow it.

    origin: whose weights these are, or began as. relicence: their owners let these weights go on under another licence.
    added: whether they go on as a part of something, such as a probe.
    """
    if origin is None:
        return parse_licence(text or "")
    carried = carried_by(origin)
    stated = origin.licence not in UNCLEAR
    chosen = as_stated(carried) if stated and text in (None, "", carried) else parse_licence(text or "")
    if not relicence:
        check_allowed(chosen, origin, added)
    return chosen


def check_allowed(chosen: Licence, origin: Origin, added: bool = False) -> None:
    """Raise where weights may not go on under a licence unless their owners allow it."""
    carried = carried_by(origin)
    if may_follow(chosen.text, carried, origin.trained) or (added and may_follow(chosen.text, carried, True)):
        return
    if reason := UNCLEAR.get(origin.licence):
        reason, remedy = reason.format(origin.model), "say"
    else:
        reason, remedy = f"{origin.model} is under {origin.licence}", "leave the licence out to keep that, or say"
    raise OscineError(f"licence {chosen.text!r}, but {reason}; {remedy} that its owners allow it (relicence)")


def carried_by(origin: Origin) -> str:
    return STATED.get(origin.licence, origin.licence)


def may_follow(licence: str, carried: str, trained: bool) -> bool:
    """Return whether weights under `carried` may go on under a licence; untrained, only under their own."""
    if not trained:
        return licence == carried
    if carried == FREE:
        return True
    if re.search(r"\bnd\b", carried.partition("=")[0]):  # Creative Commons' word for: no derivatives
        return False
    return licence in LICENCES.get(carried, (carried,))


def as_stated(licence: str) -> Licence:
    """Read the licence that a source states, which may be one that nobody should choose anew."""
    name, _, link = licence.partition("=")
    return Licence(name, link or None)


def parse_licence(text: str) -> Licence:
    """Read a licence by its name on the Hub, or any other as NAME=LINK."""
    name, _, link = text.partition("=")
    if re.fullmatch(r"https?://\S+", link) and re.fullmatch(r"[a-z0-9.-]+", name):
        return Licence(name, link)
    if text not in LICENCES:
        raise OscineError(
            f"licence {text or 'not given'}; choose one for the weights: {', '.join(LICENCES)}, or another as NAME=https://..."
        )
    return Licence(text)


class Benchmark(NamedTuple):
    """A data set on the Hub whose leaderboard a score belongs to."""

    dataset: str
    task: str
    metric: str


class Scores(NamedTuple):
    """The scores of one probe on one table."""

    name: str
    probe: str
    table: str
    folds: dict[str, list[float]]  # a metric's values on the parts that define it
    intervals: dict[str, tuple[float, float]]  # within which a metric's mean lies, by the bootstrap, where it was drawn
    content: bytes  # the whole scores.json, without this machine's paths
    date: str  # when it was written, YYYY-MM-DD
    benchmark: Benchmark | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All those of the run that found them."""
        return dict(json.loads(self.content)["settings"])


def read_scores(text: str, sha256: str, finetuned: bool = False) -> Scores:
    """FILE or FILE=OWNER/DATASET:TASK:METRIC, a scores.json of the weights with that hash, frozen or fine-tuned."""
    benchmark = re.fullmatch(r"(.+)=([\w.-]+/[\w.-]+):([\w.-]+):(\w+)", text)
    path = Path(benchmark[1] if benchmark else text)
    try:
        content = read_json(path, "")
        content |= {section: strip_local_paths(content[section]) for section in PLACES if section in content}
        found, scores = content["weights"]["sha256"], scores_of(content, path.stat().st_mtime)
        trained = bool(content["settings"].get("finetune"))
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror}); expected a scores.json") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        raise OscineError(f"{path} is no scores.json of `oscine probe`; expected one") from None
    if found != sha256:
        raise OscineError(f"{path} judges weights with sha256 {found}, these have {sha256}; probe these")
    if trained != finetuned:
        kinds = ("frozen", "fine-tuned") if finetuned else ("fine-tuned", "frozen")
        raise OscineError(f"{path} judges {kinds[0]} weights, expected scores of {kinds[1]} ones; leave it out")
    if benchmark is None:
        return scores
    if benchmark[4] not in scores.folds:
        raise OscineError(f"{path} has no {benchmark[4]}; it has {', '.join(scores.folds)}")
    return scores._replace(benchmark=Benchmark(*benchmark.groups()[1:]))


def scores_of(content: dict[str, Any], written: float) -> Scores:
    """Read a scores.json. written: seconds since 1970; the file does not say it, and today's date would change tomorrow."""
    settings, parts = content["settings"], content["parts"].values()
    metrics = [name for name, value in content["mean"].items() if value is not None]
    folds = {name: [part[name] for part in parts if part[name] is not None] for name in metrics}
    drawn = content.get("evidence", {}).get("intervals", {})
    intervals = {name: (drawn[name]["low"], drawn[name]["high"]) for name in metrics if name in drawn}
    sure = {name: ends for name, ends in intervals.items() if None not in ends}
    whole = (json.dumps(content, indent=2) + "\n").encode()
    date = datetime.fromtimestamp(written, timezone.utc).date().isoformat()
    if not all(fits(list(numbers), list[float]) for numbers in (*folds.values(), *sure.values())):
        raise ValueError("scores that are no numbers")
    name = PurePath(settings["name"]).name  # of a file in the repository
    return Scores(name, str(settings["probe"]), str(content["task"]), folds, sure, whole, date)


def check_names(scores: Sequence[Scores]) -> None:
    """Raise where two scores have one name: each becomes a file of its own."""
    names = [score.name for score in scores]
    if len(set(names)) < len(names):
        raise OscineError(f"scores of the same name ({', '.join(names)}); run `oscine probe` under another name")
