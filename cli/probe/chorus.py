"""`oscine chorus OUT`: write the synthetic dawn chorus as a folder of files."""

from __future__ import annotations

from pathlib import Path

from oscine.cli.console.output import progress_bar


def chorus(out: Path, /, seed: int = 0, clips: int = 10, soundscapes: int = 1) -> None:
    """Write a synthetic dawn chorus, a small labelled data set of made-up birds.

    Ten species sing to five recordists, who differ in background, distance, reverberation, gain and recorder. OUT then holds
    clips of 5 s with one species each, labels.csv with a fold for each recordist, and soundscapes of a minute with
    overlapping birds, each with a Raven selection table beside it. The same seed gives the same bytes.

    Args:
        out: a folder that is empty or does not exist; one in which the same call was stopped is finished.
        seed: another one gives other birds and other recordings of the same ten species.
        clips: of each species by each recordist.
        soundscapes: by each recordist.
    """
    from oscine.probe.tasks.chorus import make_chorus

    with progress_bar() as bar:
        table = make_chorus(out, seed, clips, soundscapes, bar.task("chorus"))
    print(f"{table}: the labels and folds of {sum(1 for _ in table.open(encoding='utf-8')) - 1} clips")
    if soundscapes:
        print(
            f"{out / 'soundscapes'}: {len(list(out.glob('soundscapes/*.flac')))} soundscapes with Raven selection tables"
        )
    print(f"\noscine quickstart --table {table}                       the main job on it")
    print(f"oscine probe linear --table {table} --encoder NAME      one encoder on it")
