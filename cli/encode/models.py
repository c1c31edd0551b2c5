"""`oscine models`: list the encoders, and their published weights."""

from __future__ import annotations

from textwrap import fill

from oscine.models.checkpoints import (
    ARCHITECTURES,
    EMBEDDED,
    LAYOUT,
    PUBLISHED,
    START_WITH,
    UNVERIFIED,
    Published,
)
from oscine.models.zoo import list_models, matches
from oscine.probe.deploy.published_classifiers import CLASS_NAMES, CLASSIFIERS

NONE = "none"  # that are known by name
WIDTH = 100  # of sentences; rows of tables are not cut
STATES = {
    LAYOUT: "opened from made files in the published layout, never from the real one",
    UNVERIFIED: "besides, something to compare with was missing",
    EMBEDDED: "made and judged with this code",
}


def models(names: str = "*", /, pretrained: bool = False) -> None:
    """List the encoders of the zoo: sizes, what they listen to, what they have learnt from, and where their weights are.

    Args:
        names: only those that hold this word, such as hubert, or match a pattern, such as "*_tiny".
        pretrained: only those whose name is enough to get their weights.
    """
    rows = [row for row in PUBLISHED if matches(row.name, names) and (row.by_name or not pretrained)]
    found = sorted({row.architecture for row in rows} | {*([] if pretrained else list_models(names))})
    if not found:
        print(f"no model {'with weights to get ' if pretrained else ''}matches {names!r}; oscine models lists all")
        print_wrapped(START_WITH)
        return
    encoders = [describe(name, rows) for name in found]
    print_rows([("name", "parameters", "width", "blocks", "rate", "clip", "weights"), *encoders])
    print_weights(rows)
    print()
    if named := [row.name for row in rows if row.name in CLASSIFIERS]:
        print_classifiers(named)
    states = {row.state: f"{row.state}: {STATES[row.state]}" for row in rows if row.state in STATES}
    if states:
        print_wrapped(f"State {'; '.join(states.values())}. Labels: whether they were used in training.")
    if any(encoder[-1] == NONE for encoder in encoders):
        print_wrapped(f"Weights '{NONE}': pretrain the encoder, or give a checkpoint, a file of weights.")
    if names == "*":
        print_wrapped(START_WITH)


def print_weights(rows: list[Published]) -> None:
    """Print what weights were trained on, and by licence where they are.

    In tables of their own, for one with all columns would be too wide for a terminal.
    """
    if rows:
        print()
        learnt = [(row.name, "yes" if row.supervised else "no", row.data) for row in rows]
        print_rows([("weights", "labels", "trained on"), *learnt])
    for licence in dict.fromkeys(row.licence for row in rows):
        print()
        chosen = [(row.name, row.state, origin(row)) for row in rows if row.licence == licence]
        print_rows([("weights", "state", f"from (licence: {licence})"), *chosen])


def print_classifiers(named: list[str]) -> None:
    """Print how classifiers are asked, and what those of an architecture call their classes."""
    print_wrapped(f"oscine predict FOLDER --probe NAME asks the classifier of {', '.join(named)}.")
    architectures = dict.fromkeys(name.partition(".")[0] for name in named)
    calls = "; ".join(f"{name} has {CLASS_NAMES[name]}" for name in architectures)
    print_wrapped(f"Their classes, as --classes FILE lists them: {calls}.")


def origin(row: Published) -> str:
    """Say where the weights of a row come from."""
    return row.repository or ("oscine itself, no download" if row.by_name else f"a file: {row.file}")


def describe(name: str, rows: list[Published]) -> tuple[str, ...]:
    """Make an encoder's row. rows: of the weights that are listed."""
    row = ARCHITECTURES[name]
    sizes = {**row.sizes, **row.config}
    tags = [row.name.partition(".")[2] for row in rows if row.architecture == name]
    return (
        name,
        f"{row.parameters / 1e6:.1f} M" if row.parameters else "in a file",
        str(sizes["dim"]),
        str(sizes["depth"]),
        f"{row.sample_rate / 1000:g} kHz",
        f"{row.seconds:g} s",
        " ".join([*tags[:1], *[f"and {len(tags) - 1} more"] * (len(tags) > 1)]) or NONE,
    )


def print_wrapped(text: str) -> None:
    print(fill(text, WIDTH, break_on_hyphens=False))


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """Print rows under their header, a line each and nothing cut, so that they can be searched and copied."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
