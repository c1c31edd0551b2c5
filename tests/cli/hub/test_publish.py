"""`oscine publish`: from a finished run to a name that another process loads, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from oscine.cli import dispatch
from oscine.cli.hub.publish import main
from oscine.models import checkpoints
from oscine.models.audio.load import load_audio, split_clips
from oscine.models.errors import Misuse, OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.publish.convert import convert_checkpoint
from oscine.models.zoo import create_model
from tests.forked import Program, wait_for
from tests.hub_server import Hub, environment, serving, sha256
from tests.models.test_checkpoints import what, where

TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.batch_size 2 --data.workers 0 --log_every 1 --save_every 2
--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2 --recipe.warmup 2 --recipe.steps=4
""".split()
PROBE = "--workers 0 --fit.steps 6 --fit.warmup 1 --name garden".split()
TOKEN = "hf_a_secret_of_robin"
GIVEN = ["--licence", "cc-by-4.0"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, runs/bird, and the scores of its encoder, runs/probe/garden/scores.json."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "garden").mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for number in range(8):
        soundfile.write(folder / f"garden/{number}.flac", rng.uniform(-0.3, 0.3, 48_000), 16_000)
        lines.append(f"{number}.flac,{'wren' if number % 2 else 'robin'},{number // 4}")
    (folder / "garden/labels.csv").write_text("\n".join(lines))
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert dispatch(["pretrain", "bird_mae_tiny", *TINY, "--name", "bird", "--data.recordings", "garden"]) == 0
        encoder = ["--encoder", "local-dir:runs/bird/encoder", "--table", "garden/labels.csv"]
        assert dispatch(["probe", "linear", *encoder, *PROBE]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens[TOKEN] = "robin"
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


SCORES = "runs/probe/garden/scores.json"


def card_of(hub: Hub, repository: str = "robin/bird", tag: str = "v1") -> str:
    found = hub.repositories[repository]
    return found.commits[found.refs[tag]]["README.md"].decode()


def metadata(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_run_becomes_a_name_that_another_process_loads_to_the_bit(hub, tmp_path, capsys):
    main(["runs/bird", "robin/bird", *GIVEN, "--scores", SCORES])
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    check_snippet(hub, "runs/bird/encoder", tmp_path)


# What `oscine quickstart --out` has made; .ci/run says where.
QUICKSTART = os.environ.get("OSCINE_QUICKSTART")


@pytest.mark.skipif(QUICKSTART is None, reason="OSCINE_QUICKSTART names no folder that quickstart has made")
@pytest.mark.parametrize("recipe", ["bat_tiny", "bird_mae_tiny"])
def test_what_quickstart_made_becomes_a_name_that_another_process_loads_to_the_bit(hub, tmp_path, recipe):
    main([f"{QUICKSTART}/{recipe}", "robin/bird", *GIVEN])
    check_snippet(hub, f"{QUICKSTART}/{recipe}/encoder", tmp_path)


def check_snippet(hub: Hub, folder: str, tmp_path: Path) -> None:
    """The card's three lines, as they stand, give a folder's features in another process with an empty cache."""
    soundfile.write(tmp_path / "recording.wav", np.random.default_rng(1).uniform(-0.3, 0.3, 300_000), 44_100)
    [snippet] = re.findall(r"```python\n(.*?)```", card_of(hub), re.DOTALL)
    assert len(snippet.splitlines()) == 3
    code = f"{snippet}\nimport torch; torch.save([encoder.provenance, *features], 'features.pt')"
    settings = os.environ | environment(hub, tmp_path / "empty")
    subprocess.run([sys.executable, "-c", code], env=settings, cwd=tmp_path, check=True, timeout=300)
    provenance, *features = torch.load(tmp_path / "features.pt")
    assert provenance["revision"] == hub.repositories["robin/bird"].refs["v1"]
    encoder = create_model(f"local-dir:{folder}")
    with torch.inference_mode():
        ours = encoder(split_clips(load_audio(tmp_path / "recording.wav", encoder.sample_rate), encoder.samples))
    assert all(torch.equal(one, other) for one, other in zip(ours, features, strict=True))


def test_the_card_says_what_the_run_has_written_down(hub):
    main(
        ["runs/bird", "robin/bird", *GIVEN, "--data", "robin/garden=CC0", "--scores", f"{SCORES}=robin/birds:dawn:map"]
    )
    card = card_of(hub)
    settings = Path("runs/bird/settings.yaml").read_text()
    files = hub.repositories["robin/bird"].commits[hub.repositories["robin/bird"].refs["v1"]]
    assert settings in card
    assert files["settings.yaml"].decode() == settings
    assert files["scores/garden.json"] == Path(SCORES).read_bytes()
    assert "- 4 optimiser steps in " in card
    curve = Path("runs/bird/logs/version_0/metrics.csv").read_text().splitlines()
    assert curve, "the loss comes from there"
    assert re.search(r"- loss: [\d.]+ when first logged, [\d.]+ when last", card)
    assert "| robin/garden | CC0 |" in card
    scores = json.loads(Path(SCORES).read_text())
    mean = scores["mean"]["accuracy"]
    assert f"| LinearProbe | labels | accuracy | {100 * mean:.1f} |" in card
    told = metadata(card)
    assert told["license"] == "cc-by-4.0"
    assert told["library_name"] == "oscine"
    assert told["pipeline_tag"] == "feature-extraction"
    assert {"audio", "self-supervised", "birdmae", "arxiv:2504.12880"} <= set(told["tags"])
    assert told["datasets"] == ["robin/garden"]
    [model] = told["model-index"]
    found = {result["metrics"][0]["type"]: result["metrics"][0]["value"] for result in model["results"]}
    assert found["accuracy"] == pytest.approx(mean, abs=1e-6)
    [entry] = yaml.safe_load(files[".eval_results/oscine_garden.yaml"])
    assert entry["dataset"] == {"id": "robin/birds", "task_id": "dawn"}
    assert entry["value"] == pytest.approx(scores["mean"]["map"], abs=1e-6)
    assert entry["source"]["url"] == "https://huggingface.co/robin/bird/blob/v1/scores/garden.json"


def test_the_probe_of_a_run_goes_with_what_the_run_has_found_and_how(hub):
    main(["runs/probe/garden", "robin/heard", *GIVEN])
    found = hub.repositories["robin/heard"]
    files = found.commits[found.refs["v1"]]
    scores, settings = json.loads(Path(SCORES).read_text()), yaml.safe_load(files["settings.yaml"])
    assert json.loads(files["scores/garden.json"])["parts"] == scores["parts"]
    assert (settings["fit"], settings["table"]) == (scores["settings"]["fit"], "garden/labels.csv")
    assert (
        f"| LinearProbe | labels | accuracy | {100 * scores['mean']['accuracy']:.1f} |" in files["README.md"].decode()
    )


def test_a_dry_run_shows_everything_and_asks_nobody(hub, capsys):
    main(["runs/bird", "robin/bird", *GIVEN, "--public", "--dry-run"])
    said = capsys.readouterr().out
    assert hub.requests == []
    assert said.startswith("would publish robin/bird v1: public, licence cc-by-4.0\n")
    for name in ("model.safetensors", "config.json"):
        assert f"{Path('runs/bird/encoder', name).stat().st_size:,}  {name}" in said
    assert "bytes in 4 files" in said
    main(["runs/bird", "robin/bird", *GIVEN])
    assert card_of(hub) in said


def test_the_rows_that_are_printed_make_it_one_of_the_zoo(hub, capsys, monkeypatch):
    main(["runs/bird", "robin/bird", *GIVEN])
    lines = capsys.readouterr().out.splitlines()
    scope = {"Architecture": checkpoints.Architecture, "Published": checkpoints.Published}
    [entry] = [line.strip() for line in lines if ": Architecture(" in line]
    [name, architecture] = next(iter(eval(f"{{{entry}}}", scope).items()))
    [row] = eval(f"[{next(line.strip() for line in lines if line.startswith('    Published('))}]", scope)
    assert name == "bird"
    assert row.name == "bird.garden"
    monkeypatch.setitem(checkpoints.ARCHITECTURES, name, architecture)
    monkeypatch.setattr(checkpoints, "PUBLISHED", (*checkpoints.PUBLISHED, row))
    loaded, ours = create_model("bird.garden", pretrained=True), create_model("local-dir:runs/bird/encoder")
    assert all(torch.equal(tensor, ours.state_dict()[key]) for key, tensor in loaded.state_dict().items())
    for cells in (where(row), what(row)):
        assert [cell.strip("`") for cell in cells.values()] in [
            [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")
        ]


def test_an_encoder_of_the_zoos_size_needs_no_new_architecture(hub, tmp_path, capsys):
    save_pretrained(create_model("bat_tiny"), tmp_path / "saved")
    main([str(tmp_path / "saved"), "robin/saved", *GIVEN])
    said = capsys.readouterr().out
    assert "ARCHITECTURES" not in said
    assert 'Published("bat_tiny.saved", "not stated"' in said


@pytest.mark.parametrize("repository", ["robin/bat_base", "robin/BAT.Base"])
def test_other_sizes_are_not_given_a_name_that_the_zoo_has(hub, tmp_path, capsys, repository):
    save_pretrained(create_model("bat_base", dim=24, depth=1, heads=2), tmp_path / "saved")
    main([str(tmp_path / "saved"), repository, *GIVEN, "--data", "garden"])
    said = capsys.readouterr().out
    assert '"bat_base_2": Architecture("BAT", {"dim": 24' in said.replace("'", '"')
    assert 'Published("bat_base_2.garden", "garden"' in said


def test_a_row_does_not_take_the_name_of_another(hub, tmp_path, capsys):
    save_pretrained(create_model("bird_mae_tiny"), tmp_path / "saved")
    link = "garden-terms=https://garden.example/terms"
    main([str(tmp_path / "saved"), "robin/bird", "--licence", link, "--data", "robin/esc10"])
    said = capsys.readouterr().out
    assert 'Published("bird_mae_tiny.esc10_2", "robin/esc10"' in said
    assert f'"{link}"' in said
    assert f"| {link} |" in said


def converted(name: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Any weights at all, converted as if they were the official ones of a name, in sizes that take no time."""
    known = checkpoints.ARCHITECTURES[name.partition(".")[0]]
    small = known._replace(config={"dim": 24, "depth": 1, "heads": 2})
    monkeypatch.setitem(checkpoints.ARCHITECTURES, name.partition(".")[0], small)
    torch.save({"model": dict(create_model(name).state_dict())}, folder / "any.pth")
    return convert_checkpoint(name, folder / "converted", folder / "any.pth")


def test_weights_that_are_only_said_to_be_official_replace_no_row(hub, tmp_path, capsys, monkeypatch):
    main([str(converted("audio_mae_base.as2m", monkeypatch, tmp_path)), "robin/amae"])
    said = capsys.readouterr().out
    assert (
        "audio_mae_base.as2m of models/checkpoints.py stays as it is: no hash tells that these are its weights" in said
    )
    assert "Published(" not in said
    assert "real file" not in said
    assert "| taken from | what is said to be `audio_mae_base.as2m`: `any.pth`, sha256 `" in card_of(hub, "robin/amae")


def test_official_weights_that_a_hash_tells_keep_their_rows_state(hub, tmp_path, capsys, monkeypatch):
    folder = converted("audio_mae_base.as2m", monkeypatch, tmp_path)
    digest = sha256((tmp_path / "any.pth").read_bytes())
    pinned = [
        row._replace(sha256=digest) if row.name == "audio_mae_base.as2m" else row for row in checkpoints.PUBLISHED
    ]
    monkeypatch.setattr(checkpoints, "PUBLISHED", tuple(pinned))
    main([str(folder), "robin/amae"])
    said = capsys.readouterr().out
    assert "in place of the row of that name" in said
    assert '"cc-by-nc-4.0", "layout", "robin/amae"' in said
    assert "| taken from | `audio_mae_base.as2m`: `any.pth`" in card_of(hub, "robin/amae")


def test_what_comes_with_oscine_stays_its_row(hub, tmp_path, capsys):
    save_pretrained(create_model("bird_mae_tiny", pretrained=True), tmp_path / "saved")
    main([str(tmp_path / "saved"), "robin/tiny"])
    assert (
        "bird_mae_tiny.esc10 of models/checkpoints.py stays as it is: its weights come with oscine"
        in capsys.readouterr().out
    )


def test_an_encoders_folder_inside_a_run_is_the_run(hub, capsys):
    main(["local-dir:runs/bird/encoder", "robin/bird", *GIVEN, "--dry-run"])
    inside = capsys.readouterr().out
    main(["runs/bird", "robin/bird", *GIVEN, "--dry-run"])
    assert capsys.readouterr().out == inside


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/bird", "robin/bird"], "licence not given; choose one for the weights: apache-2.0, mit"),
        (["runs/bird", "robin/bird", "--licence", "free"], "licence free; choose one"),
        (["runs", "robin/bird", *GIVEN], "no encoder in runs"),
        (["runs/bird", "robin/bird", *GIVEN, "--scores", "none.json"], "none.json cannot be read"),
        (["runs/bird", "robin/bird", *GIVEN, "--scores", "garden/labels.csv"], "is no scores.json of `oscine probe`"),
        (["runs/bird", "robin/bird", *GIVEN, "--scores", SCORES, SCORES], "scores of the same name"),
        (["runs/bird", "robin/bird", *GIVEN, "--scores", f"{SCORES}=a/b:c:d"], "has no d; it has accuracy, map"),
        (["runs/bird", "not a name", *GIVEN], "'not a name' is not the name of a repository"),
        (["runs/bird", "robin/bird", *GIVEN, "--tag", "v 1"], "'v 1' cannot be a tag"),
        (["runs/bird", "robin/bird", *GIVEN, "--tag", "main"], "'main' cannot be a tag"),
        (["runs/bird", "robin/bird", *GIVEN, "--data", "hf_" + 34 * "x"], "a token or a password stands in README.md"),
    ],
)
def test_what_cannot_be_published_is_said_before_anybody_is_asked(hub, capsys, arguments, words):
    for more in ([], ["--dry-run"]):
        with pytest.raises(OscineError, match=re.escape(words)) as caught:
            main([*arguments, *more])
        assert "\n" not in str(caught.value)
    assert hub.requests == []
    assert not capsys.readouterr().out


def test_scores_of_other_weights_are_refused(hub, tmp_path):
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny"), tmp_path / "saved")
    with pytest.raises(OscineError, match=r"judges weights with sha256 \w+, these have \w+; probe these"):
        main([str(tmp_path / "saved"), "robin/bird", *GIVEN, "--scores", SCORES])


def test_a_run_that_has_not_ended_is_not_published(hub, tmp_path):
    shutil.copytree("runs/bird", tmp_path / "bird")
    shutil.rmtree(tmp_path / "bird/encoder")
    with pytest.raises(OscineError, match="has not ended and has no encoder yet; --resume finishes it"):
        main([str(tmp_path / "bird"), "robin/bird", *GIVEN])


@pytest.mark.parametrize("damage", ["cut", "missing", "newer", "broken"])
def test_what_does_not_load_strictly_is_not_published(hub, tmp_path, damage):
    shutil.copytree("runs/bird", tmp_path / "bird")
    folder = tmp_path / "bird/encoder"
    if damage == "cut":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    elif damage == "broken":
        encoder = create_model(f"local-dir:{folder}")
        torch.nn.init.constant_(encoder.cls_token, torch.nan)
        save_pretrained(encoder, folder)
        shutil.rmtree(tmp_path / "bird/logs")  # a run would say that these are not its weights
    else:
        config = json.loads((folder / "config.json").read_text())
        config["config"] |= {"depth": 2} if damage == "missing" else {"rotary": True}
        newer = {"oscine_version": "99.0"} if damage == "newer" else {}
        (folder / "config.json").write_text(json.dumps(config | newer))
    words = {
        "cut": "no intact safetensors file",
        "missing": "missing (blocks.1",
        "newer": "update oscine",
        "broken": "1 with NaN or infinity",
    }[damage]
    with pytest.raises(OscineError, match=re.escape(words)):
        main([str(folder), "robin/bird", *GIVEN])
    assert hub.requests == []


def test_a_wrong_call_is_said_in_one_line():
    with pytest.raises(Misuse, match="oscine publish --help"):
        main(["runs/bird"])


def test_help_tells_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert "oscine publish" in said
    assert "private until --public opens it" in said
    assert "cc-by-nc-4.0" in said


def go_on(tmp_path: Path, name: str, *more: str) -> str:
    """Pretrain in a folder of its own; the run's."""
    given = ["--name", name, "--runs", str(tmp_path / "runs"), "--data.recordings", str(Path("garden").resolve())]
    assert dispatch(["pretrain", "bird_mae_tiny", *TINY, *given, "--pictures_every", "0", *more]) == 0
    return str(tmp_path / "runs" / name)


def test_no_path_of_this_machine_is_published(hub, work, tmp_path):
    table = str(work / "garden/labels.csv")
    run = go_on(tmp_path, "bird", "--init", str(work / "runs/bird"), "--probe_table", table)
    given = ["--encoder", f"local-dir:{run}/encoder", "--table", table, "--runs", str(tmp_path / "probe")]
    assert dispatch(["probe", "linear", *given, *PROBE]) == 0
    main([run, "robin/bird", *GIVEN, "--scores", str(tmp_path / "probe/garden/scores.json")])
    repository = hub.repositories["robin/bird"]
    files = repository.commits[repository.refs["v1"]]
    assert len(files) == 6
    for path, content in files.items():
        for place in (work, tmp_path):
            assert str(place).encode() not in content, path
    settings = yaml.safe_load(files["settings.yaml"])
    assert (settings["data"]["recordings"], settings["init"]) == ("garden", "bird")
    assert json.loads(files["scores/garden.json"])["settings"]["table"] == "labels.csv"
    assert "begun with the weights of `bird`" in card_of(hub)


def test_the_licence_of_the_weights_that_a_run_began_with_goes_along(hub, tmp_path):
    main(["runs/bird", "robin/old", "--licence", "cc-by-nc-4.0"])
    second = go_on(tmp_path, "second", "--init", "hf-hub:robin/old@v1")
    third = go_on(tmp_path, "third", "--init", second)
    shutil.rmtree(f"{third}/encoder")
    for run in (second, go_on(tmp_path, "fourth", "--init", third)):
        with pytest.raises(OscineError, match=r"licence 'mit', but hf-hub:robin/old is under cc-by-nc-4.0"):
            main([run, "robin/new", "--licence", "mit", "--dry-run"])
        repository = f"robin/{Path(run).name}"
        main([run, repository])
        told = metadata(card_of(hub, repository))
        assert (told["license"], told["base_model"]) == ("cc-by-nc-4.0", "robin/old")
    main([second, "robin/allowed", "--licence", "mit", "--relicence"])
    assert metadata(card_of(hub, "robin/allowed"))["license"] == "mit"


def test_a_run_that_goes_on_is_not_published_with_the_encoder_of_before(hub, tmp_path):
    run = go_on(tmp_path, "bird")
    settings = Path(run, "settings.yaml")
    settings.write_text(settings.read_text().replace("steps: 4\n", "steps: 6\n"))  # as it is while it goes on
    with pytest.raises(
        OscineError, match="gone on with other settings since its encoder was written at step 4; --resume"
    ):
        main([run, "robin/bird", *GIVEN])
    go_on(tmp_path, "bird", "--recipe.steps=6", "--resume")
    main([run, "robin/bird", *GIVEN])
    assert "- 6 optimiser steps in " in card_of(hub)


def test_what_cannot_be_read_here_is_no_fault_of_the_network(hub, tmp_path):
    shutil.copytree("runs/bird", tmp_path / "bird")
    (tmp_path / "bird/settings.yaml").unlink()
    (tmp_path / "bird/settings.yaml").mkdir()
    with pytest.raises(OscineError, match=r"settings.yaml: Is a directory, here and not on the Hub"):
        main([str(tmp_path / "bird"), "robin/bird", *GIVEN])
    assert hub.requests == []


class Publisher:
    """Publishes in a process of its own, which may be killed at a request that it makes: before or after it is answered."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.seen = hub, 0

    def publish(self, repository: str, kill_at: int | None = None) -> int:
        """Its exit code; `seen` counts the moments at which it can be killed."""
        self.seen, running = 0, list[Program]()

        def watch(request: str, done: bool) -> None:
            self.seen += 1
            if self.seen == kill_at:
                wait_for(lambda: bool(running))
                running[0].send(signal.SIGKILL)

        self.hub.watch = watch
        running.append(Program(["runs/bird", repository, "--licence", "mit"], work=main))
        return running[0].end().code


@pytest.fixture
def publisher(hub: Hub) -> Publisher:
    return Publisher(hub)


def check_killed_and_run_again(publisher: Publisher, repository: str, kill_at: int, weights: str) -> None:
    hub = publisher.hub
    hub.uploaded.clear()  # else no weights are sent
    hub.parts.clear()
    assert publisher.publish(repository, kill_at) == -signal.SIGKILL
    found = hub.repositories.get(repository)
    if found and "v1" in found.refs:
        assert sha256(found.commits[found.refs["v1"]]["model.safetensors"]) == weights, "what is tagged is whole"
    assert publisher.publish(repository) == 0
    found = hub.repositories[repository]
    assert len(found.log()) == 2, "the empty one, and one with everything"
    files = found.commits[found.refs["v1"]]
    assert set(files) == {".gitattributes", "README.md", "config.json", "model.safetensors", "settings.yaml"}
    assert sha256(files["model.safetensors"]) == weights


def test_killed_at_any_moment_the_same_call_goes_on(publisher):
    weights = sha256(Path("runs/bird/encoder/model.safetensors").read_bytes())
    assert publisher.publish("robin/whole") == 0
    moments = random.Random(0).sample(range(1, publisher.seen + 1), 4)
    for number, moment in enumerate(sorted(moments)):
        check_killed_and_run_again(publisher, f"robin/bird{number}", moment, weights)


@pytest.mark.slow
def test_killed_at_every_moment_the_same_call_goes_on(publisher):
    weights = sha256(Path("runs/bird/encoder/model.safetensors").read_bytes())
    assert publisher.publish("robin/whole") == 0
    for moment in range(1, publisher.seen + 1):
        check_killed_and_run_again(publisher, f"robin/bird{moment}", moment, weights)
