"""`oscine pretrain CONFIG`: run a recipe on a folder of recordings, and leave an encoder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from oscine.cli.console import config
from oscine.cli.console.command import Parser, add_class, add_fields, complain, meanings, say_loading
from oscine.cli.console.output import progress_bar
from oscine.models.errors import OscineError
from oscine.models.json_text import dotted
from oscine.models.progress import Bar
from oscine.models.text.words import counted, length
from oscine.pretrain.distributed import is_first
from oscine.pretrain.methods import METHODS
from oscine.pretrain.run.files import ENCODERS, LOGS, PICTURES
from oscine.pretrain.run.settings import ORDERS, PretrainingRunSettings, check_run, with_own_recordings
from oscine.pretrain.settings import RECIPES, DataSettings, TrainerSettings

RECORDINGS = "data.recordings"

if TYPE_CHECKING:
    from lightning import Callback

    from oscine.pretrain.run.plan import Plan
    from oscine.probe.tasks.splits import LabelledTable

PURPOSE = """Pretrain an encoder on a folder of recordings and leave it in RUNS/NAME/encoder.

Logs go to RUNS/NAME/logs (CSV, TensorBoard), pictures of clips, of what is predicted and of the curves to
RUNS/NAME/pictures, what is needed to go on to RUNS/NAME/states. With --keep_every the encoder stays at those steps, too, in
RUNS/NAME/encoders/step_0001000 and so on. With --probe_table the encoder is judged, frozen, while it learns. A run that was
stopped or killed goes on with --resume; --overwrite starts anew and deletes the run of this name once the new one has kept a
state. --init starts a new run from the weights of an encoder; its decoder, projector, teacher and optimiser are new.
Settings that are not those of the run or encoder are refused unless --change names them."""


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0].startswith("-"):
        print(config.usage("pretrain", PURPOSE))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = config.find("pretrain", arguments[0])
    name = config.read(path).get("method")
    METHODS.check(name, path)
    settings = parse(str(name), path, config.added("pretrain", arguments[1:]))
    check_run(settings)
    table = None
    if settings.probe_table:
        from oscine.probe.tasks.splits import read_labelled  # pandas, which --help does without

        table = read_labelled(settings.probe_table)
    if is_first():
        say_loading("pretrain", str(settings.encoder["name"]))
    from oscine.pretrain.run.preemption import DiskError, Diverged, Stopped

    try:
        pretrain(settings, table)
    except Stopped as stopped:
        complain(f"oscine pretrain: {stopped}; --resume goes on")
        return stopped.code
    except DiskError as error:
        raise OscineError(f"{error}, {'--resume goes on' if error.resumable else '--overwrite begins anew'}") from error
    except Diverged as error:
        raise OscineError(
            f"{error}; a new run with a lower recipe.lr or a trainer.gradient_clip_val may do better"
        ) from error
    return None


def parse(method: str, path: Path, more: list[str]) -> PretrainingRunSettings:
    """Parse what stands behind a CONFIG; a run that goes on has its recordings, where the call names none."""
    named = dict(dotted(config.read(path))).keys() | config.given(more)
    if "--resume" not in more or named & {"data", RECORDINGS}:
        return settings_of(config.parse(parser(method), path, more))
    unnamed = config.parse(parser(method), path, [*more, f"--{RECORDINGS}", "."])  # which the parser cannot do without
    return with_own_recordings(settings_of(unnamed))


def parser(method: str) -> Parser:
    """Make the parser: the fields of PretrainingRunSettings, with that method's settings as `recipe`."""
    made = config.parser("pretrain", PURPOSE)
    add_fields(made, PretrainingRunSettings, skip={"method", "recipe", *ORDERS})
    helps = meanings(PretrainingRunSettings)
    made.add_argument("--method", choices=[method], help=helps["method"])
    add_class(made, RECIPES.get(method) or METHODS[method], "recipe", ours=RECIPES, skip={"encoder"})
    made.add_class_arguments(DataSettings, "data")
    made.add_class_arguments(TrainerSettings, "trainer")
    for order in ("resume", "overwrite"):
        made.add_order(f"--{order}", action="store_true", help=helps[order])
    made.add_order("--change", nargs="+", type=str, default=[], metavar="KEY", help=helps["change"])
    return made


def settings_of(parsed: Namespace) -> PretrainingRunSettings:
    """Return the settings that were parsed, as `run_pretraining` takes them."""
    plain = parsed.as_dict()
    data, trainer = DataSettings(**plain.pop("data")), TrainerSettings(**plain.pop("trainer"))
    return PretrainingRunSettings(**plain, data=data, trainer=trainer)


def pretrain(settings: PretrainingRunSettings, table: LabelledTable | None) -> None:
    """Run it, with a display of its own in the first process, and print where everything lies."""
    from oscine.pretrain.run.plan import TellPlan
    from oscine.pretrain.run.run import run_checked

    probes = probes_of(settings, table)
    if not is_first():
        run_checked(settings, callbacks=probes)
        return
    with progress_bar() as bar:
        told = TellPlan(partial(say_plan, bar, settings.resume))
        encoder = run_checked(settings, progress=bar, callbacks=[*probes, told])
    folder = settings.folder
    pictures = f"pictures: {folder / PICTURES}; " if (folder / PICTURES).exists() else ""
    over_time = f"encoders over time: {folder / ENCODERS}; " if (folder / ENCODERS).exists() else ""
    print(
        f"curves: {folder / LOGS} (CSV, TensorBoard); {pictures}{over_time}encoder: create_model('local-dir:{encoder}')"
    )


def say_plan(bar: Bar, resume: bool, plan: Plan) -> None:
    for line in describe(plan, resume):
        bar.say(line)


def describe(plan: Plan, resume: bool) -> list[str]:
    """Describe what a run is about to do, a line each: device, recordings, cost, where it goes on."""
    if plan.done >= plan.steps:
        return [f"step {plan.done} of {plan.steps} is done: nothing is left to train"]
    devices = f"{plan.devices} x " * (plan.devices > 1)
    stretches, clips = counted(plan.stretches, "stretch", "stretches"), plan.clips * plan.steps
    lines = [
        f"device: {devices}{plan.device}, precision {plan.precision}",
        f"recordings: {plan.recordings}, {length(plan.seconds)}, in {stretches} that clips of "
        f"{plan.clip_seconds:g} s are cut from",
        f"{counted(plan.steps, 'step')} of {counted(plan.clips, 'clip')}: {clips} in all, "
        f"{clips / plan.stretches:.3g} from every stretch",
    ]
    if resume:
        lines += [f"going on after step {plan.done}" if plan.done else "no state was kept: it begins anew, at step 0"]
    return [*lines, *filter(None, [plan.warning])]


def probes_of(settings: PretrainingRunSettings, table: LabelledTable | None) -> list[Callback]:
    """Return what probes the encoder on a labelled table while it learns, if there is one."""
    if not table or not settings.probe_every:
        return []
    from oscine.pretrain.run.callbacks import EveryNSteps
    from oscine.probe.fit.online import OnlineProbe
    from oscine.probe.tasks.task import as_task

    # As many clips at once as a step has: what fits with gradients fits without.
    probe = OnlineProbe(as_task(table), settings.data.batch_size, settings.data.workers)
    return [EveryNSteps(settings.probe_every, probe.log_scores)]
