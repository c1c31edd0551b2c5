"""`oscine quickstart`: do the main job end to end, on a page that stands early and grows.

What it is made of is in `quickstart_stages`, its page in `quickstart_page`: they import torch, --help and a refusal do not.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from oscine.cli.console import config
from oscine.cli.console.output import progress_bar
from oscine.cli.quickstart_call import OUT, Call, claim
from oscine.models.errors import Misuse, OscineError
from oscine.models.locks import lock_output
from oscine.models.progress import Bar
from oscine.models.text.words import duration
from oscine.probe.results.run_files import REPORT

if TYPE_CHECKING:
    from oscine.probe.tasks.splits import LabelledTable

GO_ON = "the same call goes on from there"


def quickstart(
    table: Path | None = None,
    out: Path = OUT,
    steps: int | None = None,
    seed: int = 0,
    no_recipes: bool = False,
    overwrite: bool = False,
) -> int | None:
    """Run the main job end to end: data, probing, pretraining, a table and a page.

    Makes a synthetic dawn chorus (or takes your recordings) and probes the encoder that comes with oscine, frozen, beside
    random weights and plain log-mel statistics: OUT/report.html then has the scores, what was confused, the wrong clips with
    their sound, and detections in soundscapes beside the truth. Then it pretrains a tiny encoder with each recipe from the
    waveforms alone and probes them in the same way; the page grows by that. Needs no network and no GPU.

    A run that was stopped or killed goes on where it was when called again in the same way.

    Args:
        table: a CSV of your own recordings with the columns path (relative to the table) and label; without a column fold,
            folds are made.
        out: folder for everything that is made.
        steps: pretraining steps of each recipe; more than the default learns more.
        seed: of data, weights, masks and probes; the same seed gives the same table.
        no_recipes: end with the first page, before pretraining; called again without it, the run goes on.
        overwrite: begin anew in place of a run with other settings, or of one that has ended; what it has left in OUT is
            deleted once the first page of the new one stands.
    """
    plan = config.read(config.find_quickstart())
    asked = Call(plan, table, out, plan["steps"] if steps is None else steps, seed, no_recipes)
    if asked.steps < 1:
        raise Misuse(f"--steps is {steps}, expected at least 1; --no-recipes ends before pretraining")
    labelled = read_own(table) if table else None
    given = {"--table": table, "--out": None if out == OUT else out, "--steps": steps, "--seed": seed or None}
    words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    command = shlex.join(["oscine", "quickstart", *words, *(["--no-recipes"] if no_recipes else [])])
    with lock_output(out, "name another folder with --out"), progress_bar() as bar:
        claim(asked, overwrite)
        bar.say(promise(asked))
        return run(asked, labelled, command, bar)


def run(asked: Call, labelled: LabelledTable | None, command: str, bar: Bar) -> int | None:
    """Run both stages, each with its page; a stop says how to go on. command: the call, as it is typed."""
    from oscine.cli.quickstart_page import Page, print_summary
    from oscine.cli.quickstart_stages import Stages
    from oscine.pretrain.run.preemption import DiskError, Stopped

    stages = Stages(asked, labelled, bar)
    page = Page(stages, command)
    rows = stages.first()
    page.write(rows, finished=asked.no_recipes)
    asked.replaced().discard()
    where = asked.out / REPORT
    if asked.no_recipes:
        bar.say(f"{where} stands; without --no-recipes the same call goes on with pretraining")
    else:
        bar.say(f"{where} stands: open it now; it grows when the recipes are pretrained and probed")
        try:
            rows = stages.second(rows)
        except Stopped as stopped:
            print(f"oscine quickstart: {stopped}; {GO_ON}", file=sys.stderr)
            return stopped.code
        except DiskError as error:
            raise OscineError(f"{error}, {GO_ON}") from error
        page.write(rows, finished=True)
    print_summary(stages, page, rows)
    return None


def promise(asked: Call) -> str:
    """Say what is going to happen, and how long it takes on two cores, from now on."""
    plan, seconds = asked.plan, asked.plan["seconds"]
    first = f"probes {plan['embedded']} and writes a first page"
    then, total = "", ""
    if not asked.no_recipes:
        late = seconds["first"] + seconds["rest"] + asked.steps * seconds["step"]
        then = f"; then it pretrains {' and '.join(plan['recipes'])} for {asked.steps} steps each and adds them"
        total = f" (about {duration(late)} in all)"
    if asked.table:
        return f"quickstart reads {asked.table}, {first}{then}"
    early = duration(seconds["first"])
    return f"quickstart makes a synthetic dawn chorus, {first}: about {early} on two cores{then}{total}"


def read_own(table: Path) -> LabelledTable:
    """Read a labelled table with one label a row; refuse any other."""
    from oscine.probe.tasks.splits import read_labelled

    labelled = read_labelled(table, negatives=False)  # every clip has one label, whatever it is called
    if labelled.targets.ndim > 1:
        raise OscineError(f"{table} has rows with no or several labels; quickstart takes one label a row")
    return labelled
