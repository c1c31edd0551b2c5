"""What was fitted is saved whole or not at all, and comes back with its encoder, bit by bit, or says in a line why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.frontends.mel import PATCH
from oscine.models.errors import OscineError
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy import saved_probe as fetched
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.named_probe import check_probe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.heads.registry import PROBES
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.tasks.kinds import TaskKind
from tests.tiny_encoders import noise, shaken

# Settings of every probe, and of frame-wise ones; a probe that is added is added here.
HEADS: dict[str, list[dict[str, Any]]] = {
    "LinearProbe": [{"pool": "mean", "norm": "batch"}, {"pool": "frames"}, {"pool": "frame_bands"}],
    "MLPProbe": [{"pool": "cls", "hidden": 8}],
    "LayerGatedProbe": [{}, {"pool": "frames"}],
    "Head2ToeProbe": [{"pool": "mean"}],
    "AttentiveProbe": [{}, {"pool": "frames"}],
    "EfficientProbe": [{"queries": 4}],
    "SimPoolProbe": [{}],
    "GatedAttentionProbe": [{"gated": False}],
    "PrototypicalProbe": [{"prototypes_per_class": 3}],
    "ProtofloatProbe": [{"prototypes": 8}],
    "ProtobinProbe": [{"prototypes": 8}, {"prototypes": 8, "pool": "frames"}],
    "ConvexGatedProbe": [{"prototypes": 8}],
    "MultiLayerAttentionProbe": [{}],
}
CLASSES = ["blackbird", "tawny owl", "wren"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that was saved."""
    return save_pretrained(shaken("BAT"), tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def encoder(folder: Path) -> Encoder:
    return load_pretrained(folder)


def fitted(encoder: Encoder, name: str = "LinearProbe", head: dict[str, Any] | None = None) -> FittedProbe:
    """Not fitted, but with every number moved off its initial value, as a fit does."""
    torch.manual_seed(1)
    head = {"pool": "mean"} if head is None else head
    probe = PROBES[name](encoder, len(CLASSES), **head).eval()
    with torch.no_grad():
        for tensor in [*probe.parameters(), *(it for it in probe.buffers() if it.is_floating_point())]:
            tensor.add_(0.1 * torch.rand_like(tensor))
    scaling = Scaling(torch.tensor([0.7]), torch.tensor([-0.3]))
    thresholds = torch.tensor([0.1, 0.5, 1 / 3], dtype=torch.float64)
    kind = TaskKind.FRAMES if probe.framewise else TaskKind.MULTI
    facts = {"task": "birds", "rows": 48, "judged": ["test"]}
    return FittedProbe(probe, encoder, head, CLASSES, 0.7, kind, scaling, thresholds, facts, {"map": 0.5, "f1": None})


def test_every_probe_is_tried() -> None:
    assert HEADS.keys() == PROBES.keys()


@pytest.mark.parametrize(("name", "head"), [(name, head) for name, heads in HEADS.items() for head in heads])
def test_what_was_saved_says_the_same_bit_by_bit(
    encoder: Encoder, tmp_path: Path, name: str, head: dict[str, Any]
) -> None:
    before = fitted(encoder, name, head)
    after = load_probe(save_probe(before, tmp_path / "probe"))
    clips = noise(2, before.samples)
    assert torch.equal(after(clips), before(clips))
    assert after(clips).shape[1:] == ((5, 3) if head.get("pool") in ("frames", "frame_bands") else (3,))
    assert type(after.probe).__name__ == name
    assert not after.probe.training
    assert not after.encoder.training
    kept = ("head", "classes", "seconds", "kind", "fitted_on", "scores", "frame_seconds")
    assert all(getattr(after, fact) == getattr(before, fact) for fact in kept)
    assert after.thresholds is not None
    assert before.thresholds is not None
    assert torch.equal(after.thresholds, before.thresholds)


def test_frames_are_as_long_as_a_patch(encoder: Encoder) -> None:
    frames = fitted(encoder, "LinearProbe", {"pool": "frames"})
    assert frames.frame_seconds == pytest.approx(PATCH * 0.01)
    assert fitted(encoder).frame_seconds is None


def test_the_median_is_kept_and_a_probe_of_an_older_oscine_has_the_published_one(
    encoder: Encoder, tmp_path: Path
) -> None:
    save_probe(replace(fitted(encoder, "LinearProbe", {"pool": "frames"}), median=7), tmp_path)
    assert load_probe(tmp_path).median == 7
    facts = json.loads((tmp_path / "probe.json").read_text())
    del facts["median"]
    (tmp_path / "probe.json").write_text(json.dumps(facts))
    assert load_probe(tmp_path).median == 3


def test_a_threshold_below_every_probability_is_written_as_0_and_read_as_an_older_oscine_wrote_it(
    encoder: Encoder, tmp_path: Path
) -> None:
    lowest = torch.tensor([-0.5, 0.5, 1.0], dtype=torch.float64)
    folder = save_probe(replace(fitted(encoder), thresholds=lowest), tmp_path / "probe")
    content = json.loads((folder / "probe.json").read_text())
    assert content["thresholds"] == [0, 0.5, 1]
    (folder / "probe.json").write_text(json.dumps(content | {"thresholds": lowest.tolist()}))
    assert torch.equal(load_probe(folder, encoder).thresholds, lowest)  # type: ignore[arg-type]


def test_a_probe_without_scaling_and_thresholds_has_none_afterwards(encoder: Encoder, tmp_path: Path) -> None:
    bare = FittedProbe(PROBES["LinearProbe"](encoder, 3).eval(), encoder, {}, CLASSES, 1.1, TaskKind.SINGLE)
    after = load_probe(save_probe(bare, tmp_path / "probe"))
    assert (after.scaling, after.thresholds, after.single_label) == (None, None, True)
    assert torch.equal(after(noise(1, 100)), bare(noise(1, 100)))


def test_binarised_prototypes_take_a_bit_a_weight(encoder: Encoder, tmp_path: Path) -> None:
    save_probe(fitted(encoder, "ProtobinProbe", {"prototypes": 8}), tmp_path)
    tensors = load_file(tmp_path / "probe.safetensors")
    assert tensors["prototype_bits"].dtype == torch.uint8
    assert tensors["prototype_bits"].shape == (8, encoder.dim // 8)
    assert "prototype_vectors" not in tensors


def test_loading_leaves_random_numbers_as_they_were(encoder: Encoder, tmp_path: Path) -> None:
    save_probe(fitted(encoder), tmp_path)
    before = torch.get_rng_state()
    load_probe(tmp_path, encoder)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_encoder_that_has_no_name_lies_beside_its_probe(tmp_path: Path) -> None:
    encoder = shaken("BirdMAE")
    before = fitted(encoder)
    clips = noise(2, encoder.samples)[:, : before.samples]
    shutil.move(save_probe(replace(before, seconds=1.0), tmp_path / "here"), tmp_path / "there")
    after = load_probe(tmp_path / "there")
    assert after.encoder is not encoder
    assert torch.equal(after(clips), replace(before, seconds=1.0)(clips))


def test_an_untrained_encoder_is_saved_and_stays_known_as_such(tmp_path: Path) -> None:
    encoder = shaken("BAT")
    encoder.provenance = {"model": "bat_tiny", "sha256": "random"}
    after = load_probe(save_probe(fitted(encoder), tmp_path))
    assert after.encoder.provenance == {
        "model": "bat_tiny", "repository": None, "revision": None, "sha256": "random",
    }  # fmt: skip


def test_an_encoder_may_be_saved_beside_its_probe_though_it_has_a_name(encoder: Encoder, tmp_path: Path) -> None:
    assert not (save_probe(fitted(encoder), tmp_path / "without") / "encoder").exists()
    before = fitted(encoder)
    save_probe(before, tmp_path / "with", with_encoder=True)
    facts = json.loads((tmp_path / "with/probe.json").read_text())
    facts["encoder"]["model"] = "local-dir:/nowhere"
    (tmp_path / "with/probe.json").write_text(json.dumps(facts))
    assert torch.equal(load_probe(tmp_path / "with")(noise(1, 800)), before(noise(1, 800)))


@pytest.mark.parametrize("model", ["bat_tiny.birds", "hf-hub:owls/night"])
def test_a_published_encoder_is_opened_in_the_revision_and_with_the_settings_it_had(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    encoder.provenance = {"model": model, "repository": "owls/night", "revision": "a" * 40, "sha256": "b" * 64}
    save_probe(fitted(encoder), tmp_path)
    asked: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(fetched, "create_model", lambda name, **how: [asked.append((name, how)), encoder][1])
    assert load_probe(tmp_path).encoder is encoder
    settings = {} if model.startswith("hf-hub:") else encoder.config
    assert asked == [(model, {"pretrained": True, "revision": "a" * 40, **settings})]
    assert not (tmp_path / "encoder").exists()


def test_the_encoder_that_comes_with_oscine_is_found_by_its_name_and_must_be_the_same(tmp_path: Path) -> None:
    encoder = create_model("bird_mae_tiny", pretrained=True)
    before = fitted(encoder)
    save_probe(before, tmp_path, with_encoder=False)
    after = load_probe(tmp_path)
    assert not (tmp_path / "encoder").exists()
    assert torch.equal(after(noise(1, 800)), before(noise(1, 800)))
    assert after.encoder.provenance == encoder.provenance
    facts(lambda it: it["encoder"].update(fingerprint="of another oscine's"))(tmp_path)
    with pytest.raises(OscineError, match=r"fitted on bird_mae_tiny.esc10, this encoder has another fingerprint"):
        load_probe(tmp_path)


def test_where_the_encoder_lies_is_said_in_full(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    save_probe(fitted(load_pretrained(folder.name)), tmp_path / "probe")
    monkeypatch.chdir(tmp_path)
    assert load_probe("probe").classes == CLASSES


def test_another_encoder_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    save_probe(fitted(encoder), tmp_path)
    assert load_probe(tmp_path, encoder).encoder is encoder
    with torch.no_grad():
        encoder.cls_token[0, 0, 0] += 1e-6
    with pytest.raises(
        OscineError, match=r"was fitted on local-dir:.*, this encoder has another fingerprint; load"
    ) as it:
        load_probe(tmp_path, encoder)
    assert "\n" not in str(it.value)
    with pytest.raises(OscineError, match="has another architecture"):
        load_probe(tmp_path, shaken("EAT"))


def test_a_probe_of_another_spectrogram_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    """The same weights on what an older version has made of the waveform gave other features."""
    folder = save_probe(fitted(encoder, "LinearProbe", {}), tmp_path / "probe")
    content = json.loads((folder / "probe.json").read_text())
    content["encoder"]["frontend"] += ", of old"
    (folder / "probe.json").write_text(json.dumps(content))
    with pytest.raises(OscineError, match=r"this encoder has another frontend; load .* or fit it again"):
        load_probe(folder, encoder)


def test_an_encoder_that_is_gone_is_named(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(folder, tmp_path / "encoder")
    save_probe(fitted(load_pretrained(gone)), tmp_path / "probe")
    shutil.rmtree(gone)
    with pytest.raises(OscineError, match=r"the probe in .*probe needs its encoder: no encoder in .*/encoder"):
        load_probe(tmp_path / "probe")
    assert load_probe(tmp_path / "probe", encoder).classes == CLASSES


def facts(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """A change of probe.json."""

    def changed(folder: Path) -> None:
        content = json.loads((folder / "probe.json").read_text())
        change(content)
        (folder / "probe.json").write_text(json.dumps(content))

    return changed


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], Any]:
    """A change of probe.safetensors."""

    def changed(folder: Path) -> None:
        content = load_file(folder / "probe.safetensors")
        change(content)
        save_file(content, folder / "probe.safetensors")

    return changed


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (shutil.rmtree, "no probe in .*: there is no such folder; check the path"),
        (lambda folder: (folder / "probe.json").write_text("{"), "probe.json is no JSON"),
        (lambda folder: (folder / "probe.json").write_text("[]"), "probe.json is no probe of oscine's"),
        (facts(lambda it: it.update(oscine_version="99.0")), r"is of oscine 99.0, this is .*; update oscine"),
        (facts(lambda it: it.update(probe="QuantumProbe")), "unknown probe 'QuantumProbe'; known are LinearProbe"),
        (facts(lambda it: it.update(probe=["LinearProbe"])), "does not say probe as it should"),
        (facts(lambda it: it.pop("seconds")), "does not say seconds as it should; save the probe again"),
        (facts(lambda it: it.update(classes=[1, 2, 3])), "does not say classes as it should; save the probe again"),
        (facts(lambda it: it.update(scaling={"a": [1]})), "does not say scaling as it should"),
        (facts(lambda it: it["scaling"].update(scale=[1, 2])), "does not say scaling as it should"),
        (facts(lambda it: it.update(thresholds=["x"])), "does not say thresholds as it should"),
        (facts(lambda it: it["thresholds"].pop()), "does not say thresholds as it should"),
        (facts(lambda it: it.update(thresholds=[0.5, -1, 0.5])), "expected a probability from 0 to 1 a class"),
        (facts(lambda it: it.update(thresholds=[0.5, 0.5, 1.01])), "expected a probability from 0 to 1 a class"),
        (facts(lambda it: it["encoder"].update(model=5)), "does not say model as it should"),
        (facts(lambda it: it["encoder"].pop("config")), "does not say config as it should"),
        (lambda folder: (folder / "probe.json").write_text(100_000 * "["), "probe.json is no JSON"),
        (facts(lambda it: it["head"].update(feathers=3)), "LinearProbe cannot have feathers=3"),
        (facts(lambda it: it["head"].update(pool=3)), "LinearProbe cannot have pool=3"),
        (facts(lambda it: it["head"].update(classes=3)), "LinearProbe cannot have classes=3"),
        (facts(lambda it: it.update(classes=["owl"], thresholds=[0.5])), r"2 of another shape \(fc.bias \(3,\) for"),
        (tensors(lambda it: it.pop("fc.bias")), r"LinearProbe: tensors 1 missing \(fc.bias\); save the probe"),
        (tensors(lambda it: it.update(fur=torch.zeros(1))), r"does not fit LinearProbe: tensors 1 unexpected \(fur\)"),
        (tensors(lambda it: it["fc.bias"].add_(1)), "is not the file that probe.json was written with"),
        (lambda folder: torch.save({}, folder / "probe.safetensors"), "is no intact safetensors file"),
        (lambda folder: (folder / "probe.safetensors").unlink(), "no weights at .*probe.safetensors"),
    ],
)  # fmt: skip
def test_a_damaged_probe_is_refused_in_one_line(
    encoder: Encoder, tmp_path: Path, damage: Callable[[Path], Any], complaint: str
) -> None:
    folder = save_probe(fitted(encoder), tmp_path / "probe")
    damage(folder)
    with pytest.raises(OscineError, match=complaint) as caught:
        load_probe(folder, encoder)
    assert "\n" not in str(caught.value)


IMPOSSIBLE: dict[str, list[Any]] = {
    "classes": [["a"] * 3, ["a", "a", "b"], ["\ud800", "b", "c"], ["", "b", "c"], [" ", "b", "c"],
        ["x" * 10**6, "b", "c"], []],
    "scaling": [
        {"scale": [scale], "shift": [shift]}
        for scale, shift in ((0.0, 0.0), (-1.0, 0.0), (1e308, 0.0), (1e-320, 0.0), (1.0, 1e308), (1.0, -1e31))
    ] + [{"scale": [], "shift": []}, {"scale": [1.0] * 3, "shift": [0.0] * 2}, {"scale": [1.0]}],
    "seconds": [1e-9, 1e300, 1e9, 0, -1.0],
    "thresholds": [[2.0, 0.5, 0.5], [-9.0, 0.5, 0.5], [0.5]],
    "median": [10**9 + 1, 4, 0, -3],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in IMPOSSIBLE.items() for value in values])
def test_what_no_probe_has_is_refused_with_what_was_expected(
    encoder: Encoder, tmp_path: Path, key: str, value: Any
) -> None:
    """One class named six times left one column, a scale of 0 or 1e308 gave NaN, and 1e-9 s were taken as 5."""
    folder = save_probe(fitted(encoder), tmp_path / "probe")
    facts(lambda it: it.update({key: value}))(folder)
    for read in (lambda: load_probe(folder, encoder), lambda: check_probe(folder)):
        with pytest.raises(OscineError, match=f"does not say {key} as it should: .*, expected ") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


HUGE = [
    ("PrototypicalProbe", {"prototypes_per_class": 10**9}), ("MLPProbe", {"hidden": 10**12}),
    ("ConvexGatedProbe", {"prototypes": 10**10}), ("ProtobinProbe", {"prototypes": 10**30}),
]  # fmt: skip


@pytest.mark.parametrize(("probe", "head"), HUGE)
def test_a_probe_is_as_large_as_its_file(encoder: Encoder, tmp_path: Path, probe: str, head: dict[str, int]) -> None:
    """Nothing that probe.json asks for is allocated before."""
    folder = save_probe(fitted(encoder), tmp_path / "probe")
    facts(lambda it: it.update(probe=probe, head=head))(folder)
    with pytest.raises(OscineError, match=f"does not fit {probe}|{probe} cannot be built with") as caught:
        load_probe(folder, encoder)
    assert "\n" not in str(caught.value)


def places(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every key of a JSON object and of those in it."""
    for key, value in list(content.items()):
        yield content, key
        if isinstance(value, dict):
            yield from places(value)


OTHERS = (None, True, -1, 0, 7, 0.5, 1e308, 10**400, "x", "hf-hub:a/b/c", [], [1], ["a", "b", "c"], [[]], {}, {"a": 1})


SLOW = pytest.param(True, OTHERS, marks=pytest.mark.slow)  # the encoder is opened each time


@pytest.mark.parametrize(("beside", "others"), [(False, OTHERS), (True, OTHERS[::5]), SLOW])
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_whatever_a_stranger_wrote_it_is_loaded_or_refused_in_one_line(
    encoder: Encoder, tmp_path: Path, beside: bool, others: tuple[Any, ...]
) -> None:
    """Every fact in turn is taken away, or is something else; then the encoder is the one that is open, or is opened."""
    folder = save_probe(fitted(encoder, "EfficientProbe", {"queries": 4}), tmp_path, with_encoder=beside)
    whole, refused, loaded = json.loads((folder / "probe.json").read_text()), [], []
    keys = [key for _, key in places(whole)]
    for number, key in enumerate(keys):
        for other in ("gone", *others):
            content = deepcopy(whole)
            place, _ = list(places(content))[number]
            if other == "gone":
                del place[key]
            else:
                place[key] = other
            (folder / "probe.json").write_text(json.dumps(content))
            try:
                loaded.append(load_probe(folder, None if beside else encoder).classes)
            except OscineError as error:
                refused.append((key, other, str(error)))
    assert not [one for one in refused if "\n" in one[2]]
    assert len(refused) / len(keys) > 5 / 17 * (1 + len(others))
    assert all(len(classes) == 3 and all(isinstance(name, str) for name in classes) for classes in loaded)


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_probe_is_there_whole_or_not_at_all(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Stopped before any file of those that replace an earlier probe: config and weights beside, tensors, facts."""
    save_probe(fitted(encoder, "AttentiveProbe", {}), tmp_path)
    left, replace = [written], Path.replace

    def put(part: Path, path: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(part, path)

    monkeypatch.setattr(Path, "replace", put)
    with pytest.raises(KeyboardInterrupt):
        save_probe(fitted(encoder), tmp_path, with_encoder=True)
    with pytest.raises(OscineError, match="no probe in"):
        load_probe(tmp_path)
    monkeypatch.undo()
    assert type(load_probe(save_probe(fitted(encoder), tmp_path)).probe).__name__ == "LinearProbe"
