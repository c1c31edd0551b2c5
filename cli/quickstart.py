"""`oscine quickstart`: do the main job end to end, on a page that stands early and grows.

What it is made of is in `quickstart_stages`, its page in `quickstart_page`: they import torch, --help and a refusal do not.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oscine import __version__
from oscine.cli.console import config
from oscine.cli.console.output import progress_bar
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_same_settings, differences, read_json
from oscine.models.locks import lock_output
from oscine.models.progress import Bar
from oscine.models.replace_outputs import Replaced, check_own, is_empty
from oscine.models.safe_text import duration
from oscine.pretrain.run.files import OWN
from oscine.probe.results.run_files import REPORT, SCORES

if TYPE_CHECKING:
    from oscine.probe.tasks.splits import LabelledTable

STAMP, JUDGED, DETECTIONS = "quickstart.json", "judged", "detections"
OUT = Path("runs/quickstart")
GO_ON = "the same call goes on from there"


class Call(NamedTuple):
    """What a call asks for. plan: configs/quickstart.yaml. table: None makes the chorus. steps: of every recipe."""

    plan: dict[str, Any]
    table: Path | None
    out: Path
    steps: int
    seed: int
    no_recipes: bool

    @property
    def recipes(self) -> list[str]:
        return list(self.plan["recipes"])

    def replaced(self) -> Replaced:
        """Return what holds the earlier run of the folder until the first page of a new one stands."""
        return Replaced(self.out, (JUDGED, DETECTIONS, *self.recipes, SCORES, REPORT))


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


def claim(asked: Call, overwrite: bool) -> None:
    """Take a folder that is new, empty, or an earlier quickstart's, and stamp it with what a run's results depend on.

    What a run with the same settings has made is kept; what another one has left may be hours of work: it is refused, or
    cleared where asked to. Only what a run makes anew is cleared: encoders, scores, detections and the page, never data.
    Steps are the recipes': the first page does not depend on them.
    """
    out, table, recipes = asked.out, asked.table, asked.recipes
    left = read_stamp(out)
    if left is None and out.exists() and not (out.is_dir() and is_empty(out)):
        raise OscineError(f"{out} is not empty and no quickstart made it; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    # An edited table is another.
    rows = hashlib.sha256(table.read_bytes()).hexdigest()[:16] if table else None
    name = str(table) if table else "chorus"
    settings = {"table": name, "rows": rows, "steps": asked.steps, "seed": asked.seed, "oscine": __version__}
    replaced = asked.replaced()
    made = [path for name in replaced.names if (path := out / name).exists()]
    was = {name: (left or {}).get(name) for name in settings}
    aside = [] if any((out / recipe).exists() for recipe in recipes) else ["steps"]
    if left and made and not overwrite:
        remedy = "call it as then to go on, name another --out, or --overwrite it"
        check_same_settings(was, settings, complaint=f"{out} is of a run with", remedy=remedy, aside=aside)
    if overwrite and (differences(was, settings, aside) or has_ended(out)):
        runs = rf"({'|'.join(map(re.escape, recipes))})/{OWN.pattern}"
        files = rf"{SCORES}|{REPORT}|{JUDGED}/[^/]+\.pt|{DETECTIONS}/[^/]+\.txt|{runs}|(.+/)?\.[^/]+\.\d+\.part"
        check_own(made, out, re.compile(files), "quickstart")
        replaced.take()
    write_whole(out / STAMP, json.dumps(settings).encode())


def read_stamp(out: Path) -> dict[str, Any] | None:
    """Read the settings of the quickstart that a folder is of; None where it is of none."""
    try:
        left = read_json(out / STAMP, "")
    except (OSError, OscineError):
        return None
    whole = isinstance(left, dict) and {"table", "steps", "seed", "oscine"} <= left.keys()
    return left if whole or left == {} else None  # 0.1 left an empty one until its settings were known


def has_ended(out: Path) -> bool:
    """Return whether the run in a folder came to its end: one that did not goes on, also where it was to overwrite."""
    try:
        return bool(json.loads((out / SCORES).read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, LookupError):
        return False
