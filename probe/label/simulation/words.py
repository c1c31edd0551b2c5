"""Say in words what a simulation has found, and what it was."""

from __future__ import annotations

import numpy as np

from oscine.models.text.words import counted
from oscine.probe.label.curves import Difference
from oscine.probe.label.simulation.settings import RANDOM
from oscine.probe.label.simulation.summary import REACHED, Simulation, Standing

NOT = "not reached"
NEARLY = f"{100 * REACHED:.0f} %"  # of what all labels give


def verdict(found: Simulation, encoder: str) -> str:
    """Say which strategy won with an encoder, what it saved, and which ones lost to random clips."""
    others = [one for one in found.standings[encoder] if not is_baseline(found, one)]
    above, below = ([one for one in others if sign * one.gain.mean > 0 and sure(one.gain)] for sign in (1, -1))
    said = (
        f"{encoder}: no gain over random clips has an interval above 0, with {counted(found.settings.seeds, 'seed')}."
    )
    if above:
        best = above[0]
        said = (
            f"{encoder}: of the gains over random clips whose interval is above 0, that of {called(best)} is the greatest, "
            f"{best.gain.mean:.3f} (95 % interval {interval_text(best.gain)}). {saving_text(found, best)}"
        )
    if below:
        named = ", ".join(f"{called(one)} ({one.gain.mean:+.3f})" for one in below)
        said += f" Below random clips, with their intervals: {named}."
    return said


def saving_text(found: Simulation, one: Standing) -> str:
    """Say how many labels a strategy takes to nearly what all labels give, beside random clips."""
    lowest = next(row for row in found.standings[one.encoder] if is_baseline(found, row))
    level = f"{NEARLY} of what all labels give ({REACHED * found.all_labels(one.encoder).mean():.3f})"
    mine, other = reached_text(one.reached), reached_text(lowest.reached)
    if mine == NOT:
        return f"It does not reach {level} with these labels."
    return f"It takes {mine} labels to {level}, random clips {'more than there were' if other == NOT else other}."


def protocol_text(found: Simulation) -> str:
    """Say what was replayed, and what the numbers are."""
    settings = found.settings
    folds = len(found.parts) > 1
    judged = "the clips of one fold, in turn" if folds else "the clips of the split test"
    kind = f"{found.classes} classes{', any number of them a clip' if found.several else ''}"
    return (
        f"{found.clips} clips, {kind}. A from B is strategy A, which starts from {settings.initial} clips by rule B and "
        f"chooses {settings.batches} batches of {settings.batch}; after each a probe is fitted from nothing. Scores are "
        f"of {judged}, which no strategy sees. {counted(settings.seeds, 'seed')}, each with its own "
        f"{'fold, ' * folds}first clips and draws; a gain is the difference to random clips, seed by seed. Area is the "
        "mean height of a curve. An encoder that has heard these recordings in pretraining, though without labels, makes "
        "all of this transductive: on new ones it may be worse."
    )


def called(one: Standing) -> str:
    """Name a strategy and the rule of its initial set."""
    return f"{one.strategy} from {one.initial_set}"


def is_baseline(found: Simulation, one: Standing) -> bool:
    """Tell whether these are the random clips against which gains are."""
    return (one.initial_set, one.strategy) == (found.baseline, RANDOM)


def sure(gain: Difference) -> bool:
    """Tell whether an interval leaves 0 out."""
    return gain.low > 0 or gain.high < 0


def gain_texts(found: Simulation, one: Standing) -> tuple[str, str]:
    """Return a gain and its interval; dashes for random clips themselves."""
    if is_baseline(found, one):
        return "–", "–"
    return f"{one.gain.mean + 0.0:+.3f}", interval_text(one.gain)


def interval_text(gain: Difference) -> str:
    return "–" if np.isnan(gain.low) else f"{gain.low + 0.0:+.3f} to {gain.high + 0.0:+.3f}"


def p_text(gain: Difference) -> str:
    return "–" if np.isnan(gain.p) else "< 0.001" if gain.p < 0.001 else f"{gain.p:.3f}"


def reached_text(reached: np.ndarray) -> str:
    """Return the median number of labels that a score took; half of the runs or more may not reach it."""
    middle = float(np.median(reached))
    return f"{middle:g}" if np.isfinite(middle) else NOT
