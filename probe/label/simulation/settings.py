"""Settings of a simulation; refuse what arguments and files alone show to be wrong, without torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

from oscine.models.errors import Misuse
from oscine.models.files import as_path
from oscine.probe.tasks.open import Clips, asks_for_frames, check_task, read_clips
from oscine.probe.tasks.settings import ClipSettings

LOG_MEL = "log_mel"  # how mean and spread of log mel bands are called among the encoders
RANDOM = "random"  # both the strategy and the initial set against which all others are measured
# What makes runs others, beside the clips, their labels and folds, and what encoders say of them.
CHANGING = ("initial", "batch", "batches", "unlabelled", "probe", "C", "components", "norm")


@dataclass(frozen=True, kw_only=True)
class SimulationSettings(ClipSettings):
    """Settings of `simulate`.

    Args:
        embeddings: tables by oscine embed that hold every labelled clip, one an encoder, which goes by the table's name.
        out: folder of the results. A call that was stopped goes on in it, and one with more strategies, initial sets, seeds
            or encoders adds theirs.
        log_mel: compare with mean and spread of the log mel bands of the same clips, too: the floor under every encoder.
        vectors: column of the tables, if not that of the pooled vectors.
        strategies: with commas, NAME or NAME:OPTION=VALUE:OPTION=VALUE; random always takes part.
        initial_sets: how the first clips are chosen, with commas: random, typiclust, coreset.
        initial: clips that are labelled first.
        batch: clips that a strategy chooses at a time.
        batches: so many times, after each of which the probe is fitted anew.
        seeds: runs of every strategy, each with its own fold, initial set and draws, which all strategies share.
        unlabelled: clips to choose from at most, a draw that is the same for all; null takes every one.
        probe: logistic regression (logistic), or two layers of the features' width (mlp), which strategies do not see
            into.
        C: inverse of the penalty on the weights of logistic regression.
        components: principal components that are kept of the standardised features; null keeps these as they are.
        norm: mean length to which the rows of features are scaled.
        workers: processes that replay at the same time; null takes every core.
    """

    embeddings: Sequence[Path] = ()
    out: Path
    log_mel: bool = False
    vectors: str | None = None
    strategies: str = "random, margin, typiclust, coreset, badge, uherding, half_coreset_half_entropy"
    initial_sets: str = "random, typiclust"
    initial: int = 10
    batch: int = 10
    batches: int = 12
    seeds: int = 10
    unlabelled: int | None = None
    probe: Literal["logistic", "mlp"] = "logistic"
    C: float = 1.0
    components: int | None = None
    norm: float = 8.0
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "embeddings", [Path(path) for path in self.embeddings])
        as_path(self, "out")
        for name in ("initial", "batch", "batches", "seeds", "unlabelled", "components", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Misuse(f"{name} is {value}, expected 1 or more")
        for name in ("C", "norm"):
            if not getattr(self, name) > 0:
                raise Misuse(f"{name} is {getattr(self, name):g}, expected more than 0")

    @property
    def most_labels(self) -> int:
        """Return how many clips a run labels."""
        return self.initial + self.batches * self.batch

    def protocol(self) -> dict[str, Any]:
        """Return what makes runs others; those of two protocols may not be mixed."""
        return {name: getattr(self, name) for name in CHANGING}


class StrategyCall(NamedTuple):
    """A strategy with its options; text: as it was asked for, and is called in results."""

    text: str
    name: str
    options: dict[str, Any]


def parse_strategies(text: str) -> list[StrategyCall]:
    """Read NAME or NAME:OPTION=VALUE, separated by commas; a value in brackets is a list. Random comes first.

    A strategy of a plugin may be module:function.
    """
    calls = [_parse_call(part) for part in _split(text, ",") if part]
    if twice := [name for name, times in Counter(call.text for call in calls).items() if times > 1]:
        raise Misuse(f"the strategy {twice[0]} is named twice; name it once")
    others = [call for call in calls if call.text != RANDOM]
    return [StrategyCall(RANDOM, RANDOM, {}), *others]


def _parse_call(text: str) -> StrategyCall:
    parts = _split(text, ":")
    name = ":".join(takewhile(lambda part: "=" not in part, parts))
    given = [part.partition("=") for part in dropwhile(lambda part: "=" not in part, parts)]
    if wrong := [option for option, equals, _ in given if not equals]:
        raise Misuse(f"strategy {text!r}: {wrong[0]!r} is no OPTION=VALUE, such as bait:weighting=sum")
    return StrategyCall(text, name, {option: _value(value) for option, _, value in given})


def _split(text: str, separator: str) -> list[str]:
    """Split outside of brackets, and leave blanks out."""
    parts, depth = [""], 0
    for letter in text.replace(" ", ""):
        depth += (letter == "[") - (letter == "]")
        if letter == separator and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str) -> Any:
    """Return a number, true or false, a list of values, or else the text."""
    if text.startswith("[") and text.endswith("]"):
        return [_value(part) for part in _split(text[1:-1], ",") if part]
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_initial_sets(text: str) -> list[str]:
    """Read the names of rules for initial sets, separated by commas."""
    names = [part for part in _split(text, ",") if part]
    if not names or len(set(names)) < len(names):
        raise Misuse(f"initial_sets is {text!r}, expected different names, such as random, typiclust, coreset")
    return names


def check_simulation(settings: SimulationSettings) -> Clips:
    """Refuse what settings and files alone show to be wrong, before torch is imported; return the clips that were read."""
    names = [path.stem for path in settings.embeddings]
    if not names:
        raise Misuse("no table of embeddings; oscine embed FOLDER --model NAME --out NAME.parquet writes one")
    if twice := [name for name, times in Counter([*names, LOG_MEL]).items() if times > 1]:
        raise Misuse(f"two encoders are called {twice[0]}, each by the name of its table; rename one")
    from oscine.models.embed.table import read_schema  # pyarrow, which --help does without

    for path in settings.embeddings:
        read_schema(path)
    _check_strategies(settings)
    check_task(settings)
    if asks_for_frames(settings):
        raise Misuse(f"{settings.task.name} asks for events in recordings; a simulation labels clips")
    return read_clips(settings)


def _check_strategies(settings: SimulationSettings) -> None:
    from oscine.probe.label.strategies.initial import check_initial_set
    from oscine.probe.label.strategies.registry import STRATEGIES

    for call in parse_strategies(settings.strategies):
        STRATEGIES.check(call.name)
    for name in parse_initial_sets(settings.initial_sets):
        check_initial_set(name)
