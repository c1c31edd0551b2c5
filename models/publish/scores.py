"""Read the scores that are published with an encoder or a probe, from a scores.json; without torch or a network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from oscine.models.errors import OscineError
from oscine.models.files import strip_local_paths
from oscine.models.json_text import fits, read_json

# Sections of a scores.json in which paths stand; in others a class may look like one.
PLACES = ("settings", "weights", "recordings")


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
    """Read FILE or FILE=OWNER/DATASET:TASK:METRIC, a scores.json of the weights with that hash, frozen or fine-tuned."""
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
