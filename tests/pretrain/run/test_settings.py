"""A run from Python is the run of the command: the same settings, the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import Misuse, OscineError
from oscine.models.progress import NoBar
from oscine.pretrain import BirdMAEPretraining, DataSettings, PretrainingRunSettings, TrainerSettings, run_pretraining
from oscine.pretrain.methods import METHODS

RECIPE = {"steps": 2, "warmup": 0.5, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
ENCODER = {"name": "bird_mae_tiny", "dim": 24, "depth": 1, "heads": 2}


@pytest.fixture(autouse=True)
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000 * 6)
    Path("sound").mkdir()
    soundfile.write("sound/noise.flac", noise, 32_000)


def settings(**changes: object) -> PretrainingRunSettings:
    given = {
        "name": "notebook", "method": "BirdMAEPretraining", "encoder": ENCODER, "recipe": RECIPE, "seed": 3,
        "data": DataSettings("sound", batch_size=2, workers=0), "trainer": TrainerSettings(accelerator="cpu"),
        "health_every": 0, "pictures_every": 0,
    }  # fmt: skip
    return PretrainingRunSettings(**given | changes)  # type: ignore[arg-type]


def test_python_and_the_command_line_make_the_same_encoder() -> None:
    seen: list[int] = []

    class Seen(NoBar):
        def task(self, description: str) -> Callable[..., None]:
            return lambda done, total, note="": seen.append(done)

    encoder = run_pretraining(settings(), progress=Seen())
    assert (encoder, seen) == (Path("runs/notebook/encoder"), [1, 2])
    own = settings(name="shell").as_dict()
    Path("shell.yaml").write_text(yaml.safe_dump(own | {"data": own["data"] | {"recordings": "sound"}}))
    assert dispatch(["pretrain", "shell.yaml"]) == 0
    theirs = Path("runs/shell/encoder/model.safetensors").read_bytes()
    assert (encoder / "model.safetensors").read_bytes() == theirs
    written = [yaml.safe_load(Path(f"runs/{name}/settings.yaml").read_text()) for name in ("notebook", "shell")]
    assert written[0] | {"name": "shell"} == written[1]


@dataclass
class Mask:
    share: float = 0.5
    sizes: tuple[int, int] = (3, 5)


MASK, GAINS = Mask(), {0: 0.1}


class Own(BirdMAEPretraining):
    def __init__(self, encoder: Encoder, mask: Mask = MASK, gains: dict[int, float] = GAINS, **more: Any) -> None:
        super().__init__(encoder, **more)


def test_settings_of_a_recipe_of_ones_own_are_written_as_yaml_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS.registered, "Own", Own)
    written = settings(method="Own").as_dict()
    assert written["recipe"]["mask"] == {"share": 0.5, "sizes": [3, 5]}
    assert written["recipe"]["gains"] == {0: 0.1}
    assert yaml.safe_load(yaml.safe_dump(written)) == written


def test_the_call_again_with_resume_finds_the_run_finished() -> None:
    encoder = run_pretraining(settings())
    before = (encoder / "model.safetensors").read_bytes()
    with pytest.raises(OscineError, match="exists; --resume goes on with it"):
        run_pretraining(settings())
    assert (run_pretraining(settings(resume=True)) / "model.safetensors").read_bytes() == before


def test_what_does_not_fit_is_refused_before_a_run_is_touched() -> None:
    with pytest.raises(Misuse, match="save_every is 0, expected at least 1"):
        settings(save_every=0)
    with pytest.raises(Misuse, match=r"encoder is \{\}, expected a dict with its name"):
        settings(encoder={})
    with pytest.raises(Misuse, match=r"change is 'recipe\.lr', expected list"):
        settings(change="recipe.lr")
    for changes, said in (
        ({"method": "Mine"}, "no method 'Mine'; expected one of BATPretraining, BirdMAEPretraining"),
        ({"recipe": {"step": 2}}, "BirdMAEPretraining has no setting step; did you mean steps"),
        ({"encoder": {"name": "bat_tyni"}}, "did you mean 'bat_tiny'"),
        ({"data": DataSettings(Path("nowhere"))}, "nowhere"),
    ):
        with pytest.raises(OscineError, match=said):
            run_pretraining(settings(**changes))
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", config.shipped("pretrain"))
def test_every_shipped_yaml_is_a_run_of_python_too(name: str) -> None:
    given = config.read(config.find("pretrain", name))
    data, trainer = DataSettings(Path("sound"), **given.pop("data")), TrainerSettings(**given.pop("trainer"))
    assert PretrainingRunSettings(**given, data=data, trainer=trainer).folder == Path("runs", name)
