"""Tell what a call of `oscine quickstart` asks for, and claim its folder; no torch is needed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from oscine import __version__
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_same_settings, differences, read_json
from oscine.models.replace_outputs import Replaced, check_own, is_empty
from oscine.pretrain.run.files import OWN
from oscine.probe.results.run_files import REPORT, SCORES

STAMP, JUDGED, DETECTIONS = "quickstart.json", "judged", "detections"
OUT = Path("runs/quickstart")


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
