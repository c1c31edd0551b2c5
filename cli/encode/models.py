"""`oscine models`: list the encoders, and their published weights."""

from __future__ import annotations

from textwrap import fill

from oscine.models.checkpoints import ARCHITECTURES, PUBLISHED, Published
from oscine.models.zoo import list_models, matches
from oscine.probe.deploy.published_classifiers import CLASS_NAMES, CLASSIFIERS

NONE = "none"  # that are known by name
WIDTH = 100  # of sentences; rows of tables are not cut


def models(names: str = "*", /, pretrained: bool = False) -> None:
    """List the encoders of the zoo: sizes, what they listen to, and where their weights are.

    Args:
        names: only those that hold this word, such as hubert, or match a pattern, such as "*_tiny".
        pretrained: only those whose name is enough to get their weights.
    """
    rows = [row for row in PUBLISHED if matches(row.name, names) and (row.by_name or not pretrained)]
    found = sorted({row.architecture for row in rows} | {*([] if pretrained else list_models(names))})
    if not found:
        print(f"no model {'with weights to get ' if pretrained else ''}matches {names!r}; oscine models lists all")
        return
    encoders = [describe(name) for name in found]
    print_rows([("name", "parameters", "width", "blocks", "rate", "clip", "weights"), *encoders])
    # By licence, for a line that named it as well would be too long for a terminal.
    for licence in dict.fromkeys(row.licence for row in rows):
        print()
        chosen = [(row.name, origin(row)) for row in rows if row.licence == licence]
        print_rows([("weights", f"from (licence: {licence})"), *chosen])
    if named := [row.name for row in rows if row.name in CLASSIFIERS]:
        print(f"\n{asking(named)}")
    if rows:
        print("\ncheckpoints.md says more of each: licence, data, how far it was checked.")
    if any(encoder[-1] == NONE for encoder in encoders):
        print(f"Weights '{NONE}': pretrain the encoder, or give a checkpoint, a file of weights.")


def asking(named: list[str]) -> str:
    """Say how classifiers are asked, and what those of an architecture call their classes."""
    first = f"oscine predict FOLDER --probe NAME asks the classifier of {', '.join(named)}."
    architectures = dict.fromkeys(name.partition(".")[0] for name in named)
    calls = "; ".join(f"{name} has {CLASS_NAMES[name]}" for name in architectures)
    return "\n".join([fill(first, WIDTH), fill(f"Their classes, as --classes FILE lists them: {calls}.", WIDTH)])


def origin(row: Published) -> str:
    """Say where the weights of a row come from."""
    return row.repository or ("oscine itself, no download" if row.by_name else f"a file: {row.file}")


def describe(name: str) -> tuple[str, ...]:
    """Make an encoder's row."""
    row = ARCHITECTURES[name]
    sizes = {**row.sizes, **row.config}
    tags = [row.name.partition(".")[2] for row in PUBLISHED if row.architecture == name]
    return (
        name,
        f"{row.parameters / 1e6:.1f} M" if row.parameters else "in a file",
        str(sizes["dim"]),
        str(sizes["depth"]),
        f"{row.sample_rate / 1000:g} kHz",
        f"{row.seconds:g} s",
        " ".join([*tags[:1], *[f"and {len(tags) - 1} more"] * (len(tags) > 1)]) or NONE,
    )


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """Print rows under their header, a line each and nothing cut, so that they can be searched and copied."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
