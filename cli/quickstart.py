"""`oscine quickstart`: the main job end to end, as one story, on a page that stands early and grows.

What it is made of is in `quickstart_stages`, its page in `quickstart_page`: they import torch, --help and a refusal do not.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oscine import __version__
from oscine.cli.console import config
from oscine.cli.console.command import call
from oscine.cli.console.progress import duration, progress_bar
from oscine.models.embed.progress import Bar
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import read_json
from oscine.models.locks import lock_output
from oscine.models.replaced import Replaced, check_own, is_empty
from oscine.pretrain.run.files import OWN

if TYPE_CHECKING:
    from oscine.probe.tasks.splits import LabelledTable

STAMP, SCORES, REPORT, JUDGED, DETECTIONS = "quickstart.json", "scores.json", "report.html", "judged", "detections"
OUT = Path("runs/quickstart")


def main(arguments: list[str]) -> int | None:
    return call(quickstart, arguments)


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
    length = plan["steps"] if steps is None else steps
    if length < 1:
        raise Misuse(f"--steps is {length}, expected at least 1; --no-recipes ends before pretraining")
    labelled, settings = read_own(table) if table else None, settings_of(table, length, seed)
    with lock_output(out, "name another folder with --out"), progress_bar() as bar:
        claim(out)
        prepare(out, list(plan["recipes"]), settings, overwrite)
        bar.say(promise(plan, table, length, no_recipes))
        return run(
            plan, table, labelled, out, settings, no_recipes, command_of(table, out, steps, seed, no_recipes), bar
        )  # fmt: skip


def run(
    plan: dict[str, Any],
    table: Path | None,
    labelled: LabelledTable | None,
    out: Path,
    settings: dict[str, Any],
    no_recipes: bool,
    command: str,
    bar: Bar,
) -> int | None:
    """Both stages, each with its page; a stop says how to go on."""
    from oscine.cli.quickstart_page import Page, show
    from oscine.cli.quickstart_stages import Stages
    from oscine.pretrain.run.checkpoint import DiskError, Stopped

    stages = Stages(plan, out, table, labelled, settings["seed"], settings["steps"], bar)
    page = Page(stages, command)
    first = stages.first()
    page.write(first, finished=no_recipes)
    replaced_run(out, stages.recipes).discard()
    where = out / REPORT
    if no_recipes:
        bar.say(f"{where} stands; without --no-recipes the same call goes on with pretraining")
    else:
        bar.say(f"{where} stands: open it now; it grows when the recipes are pretrained and probed")
        try:
            first = stages.second(first)
        except Stopped as stopped:
            print(f"oscine quickstart: {stopped}; {AGAIN}", file=sys.stderr)
            return stopped.code
        except DiskError as error:
            raise OscineError(f"{error}, {AGAIN}") from error
        page.write(first, finished=True)
    show(stages, page, first)
    return None


AGAIN = "the same call goes on from there"


def promise(plan: dict[str, Any], table: Path | None, steps: int, no_recipes: bool) -> str:
    """What is going to happen, and how long it takes on two cores, from now on."""
    first = f"probes {plan['embedded']} and writes a first page"
    seconds = plan["seconds"]
    early, late = seconds["first"], seconds["first"] + seconds["rest"] + steps * seconds["step"]
    then = (
        ""
        if no_recipes
        else f"; then it pretrains {' and '.join(plan['recipes'])} for {steps} steps each and adds them"
    )
    if table:
        return f"quickstart reads {table}, {first}{then}"
    total = "" if no_recipes else f" (about {duration(late)} in all)"
    return f"quickstart makes a synthetic dawn chorus, {first}: about {duration(early)} on two cores{then}{total}"


def read_own(table: Path) -> LabelledTable:
    """Read a labelled table with one label a row; refuse any other."""
    from oscine.probe.tasks.splits import read_labelled

    labelled = read_labelled(table, negatives=False)  # every clip has one label, whatever it is called
    if labelled.targets.ndim > 1:
        raise OscineError(f"{table} has rows with no or several labels; quickstart takes one label a row")
    return labelled


def settings_of(table: Path | None, steps: int, seed: int) -> dict[str, Any]:
    """What a run's results depend on; of a table also a hash, since an edited one is another."""
    rows = hashlib.sha256(table.read_bytes()).hexdigest()[:16] if table else None
    name = str(table) if table else "chorus"
    return {"table": name, "rows": rows, "steps": steps, "seed": seed, "oscine": __version__}


def command_of(table: Path | None, out: Path, steps: int | None, seed: int, no_recipes: bool) -> str:
    """The call, as it is typed."""
    given = {"--table": table, "--out": None if out == OUT else out, "--steps": steps, "--seed": seed or None}
    words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return shlex.join(["oscine", "quickstart", *words, *(["--no-recipes"] if no_recipes else [])])


def claim(out: Path) -> None:
    """A folder that is new, empty, or an earlier quickstart's."""
    if out.exists() and (not out.is_dir() or not (is_empty(out) or is_stamped(out))):
        raise OscineError(f"{out} is not empty and no quickstart made it; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / STAMP).exists():
        write_whole(out / STAMP, b"{}")


def is_stamped(out: Path) -> bool:
    """Whether a folder has the mark of a quickstart, which is empty until its settings are known."""
    try:
        left = read_json(out / STAMP, "")
    except (OSError, OscineError):
        return False
    return left == {} or (isinstance(left, dict) and {"table", "steps", "seed", "oscine"} <= left.keys())


def prepare(out: Path, recipes: list[str], settings: dict[str, Any], overwrite: bool) -> None:
    """Keep what a run with the same settings has made; refuse, or clear where asked to, what another one has left.

    That may be hours of work. Only what a run makes anew is cleared: encoders, scores, detections and the page, never data.
    Steps are the recipes': the first page does not depend on them.
    """
    left = json.loads((out / STAMP).read_text(encoding="utf-8"))
    replaced = replaced_run(out, recipes)
    made = [path for name in replaced.names if (path := out / name).exists()]
    counts = [name for name in settings if name != "steps" or any((out / recipe).exists() for recipe in recipes)]
    differ = [f"{name} {left.get(name)}, not {settings[name]}" for name in counts if left.get(name) != settings[name]]
    if left and made and differ and not overwrite:
        raise OscineError(
            f"{out} is of a run with {', '.join(differ)}; call it as then to go on, name another --out, or --overwrite it"
        )
    if overwrite and (differ or has_ended(out)):
        check_own(made, out, own_files(recipes), "quickstart")
        replaced.take()
    write_whole(out / STAMP, json.dumps(settings).encode())


def replaced_run(out: Path, recipes: list[str]) -> Replaced:
    """Return what holds the earlier run of a folder until the first page of a new one stands."""
    return Replaced(out, (JUDGED, DETECTIONS, *recipes, SCORES, REPORT))


def own_files(recipes: list[str]) -> re.Pattern[str]:
    """What `made` of a run consists of, by paths below its folder."""
    runs = rf"({'|'.join(map(re.escape, recipes))})/{OWN.pattern}"
    return re.compile(rf"{SCORES}|{REPORT}|{JUDGED}/[^/]+\.pt|{DETECTIONS}/[^/]+\.txt|{runs}|(.+/)?\.[^/]+\.\d+\.part")


def has_ended(out: Path) -> bool:
    """Whether the run in a folder came to its end: one that did not is gone on with, also where it was to overwrite."""
    try:
        return bool(json.loads((out / SCORES).read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, LookupError):
        return False
