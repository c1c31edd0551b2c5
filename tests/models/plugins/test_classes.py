"""Classes of other people stand beside oscine's own: found by name, saved with their module, never taken for another."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from oscine.models import BirdMAE, create_model, list_models, register_encoder, save_pretrained
from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import KEY_MAPPERS
from oscine.models.plugins.classes import parameters_of
from oscine.models.plugins.load import allow_plugin
from oscine.pretrain import BirdMAEPretraining, register_recipe
from oscine.pretrain.methods import METHODS
from oscine.probe import LinearProbe, register_probe
from oscine.probe.heads.registry import PROBES

TINIEST = {"dim": 8, "depth": 1, "heads": 2, "seconds": 0.5}


@pytest.fixture(autouse=True)
def here(door: Iterator[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Wren(BirdMAE):
    """An encoder of somebody's own, with a number of its own."""

    def __init__(self, pitch: float = 1.0, **kwargs: float) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]


def test_every_class_of_oscine_has_a_name_and_a_layout() -> None:
    assert {ENCODERS[name] for name in ENCODERS} == {*KEY_MAPPERS}
    assert all(kinds[name].__name__ == name for kinds in (ENCODERS, METHODS, PROBES) for name in kinds)


def test_a_registered_encoder_is_made_saved_and_loaded_by_name(tmp_path: Path) -> None:
    assert register_encoder(Wren, sizes={"wren_tiny": TINIEST, "wren_small": {**TINIEST, "dim": 16}}) is Wren
    assert list_models("wren*") == ["wren_small", "wren_tiny"]
    made = create_model("wren_small", pitch=2.0)
    assert isinstance(made, Wren)
    assert (made.dim, made.config["pitch"]) == (16, 2.0)
    save_pretrained(made, "wren")
    about = json.loads(Path("wren/config.json").read_text())
    assert (about["architecture"], about["module"]) == ("Wren", Wren.__module__)
    again = create_model("local-dir:wren")
    assert again.config == made.config
    assert torch.equal(again.cls_token, made.cls_token)


def test_what_a_setting_is_called_makes_no_encoder_one_of_an_onnx_file() -> None:
    class Reader(BirdMAE):
        def __init__(self, file_bytes: int = 0, **kwargs: float) -> None:
            super().__init__(**kwargs)  # type: ignore[arg-type]

    register_encoder(Reader, sizes={"reader_tiny": TINIEST})
    Path("graph.onnx").write_bytes(b"graph")
    with pytest.raises(
        OscineError, match=r"graph\.onnx is an ONNX file, Reader takes tensors; create_model\('onnx-file:"
    ):
        create_model("reader_tiny", checkpoint_path="graph.onnx")


def test_a_decorator_registers_too() -> None:
    @register_encoder(sizes={"wren_deep": {**TINIEST, "depth": 2}}, paper="arXiv 1234.56789")
    class DeepWren(BirdMAE):
        pass

    @register_recipe
    class WrenPretraining(BirdMAEPretraining):
        pass

    @register_probe
    class WrenProbe(LinearProbe):
        pass

    assert create_model("wren_deep").depth == 2
    assert ENCODERS["DeepWren"] is DeepWren
    assert METHODS["WrenPretraining"] is WrenPretraining
    assert PROBES["WrenProbe"] is WrenProbe


def test_files_of_authors_are_read_by_a_layout(tmp_path: Path) -> None:
    register_encoder(
        Wren, sizes={"wren_tiny": TINIEST}, layout=lambda state: {name[6:]: it for name, it in state.items()}
    )
    made = create_model("wren_tiny")
    torch.save({f"theirs{name}": it for name, it in made.state_dict().items()}, "wren.pth")
    assert torch.equal(create_model("wren_tiny", checkpoint_path="wren.pth").cls_token, made.cls_token)
    with pytest.raises(OscineError, match="wren_tiny has no weights to fetch"):
        create_model("wren_tiny", pretrained=True)


def test_a_class_that_is_defined_anew_takes_its_own_place() -> None:
    def define(depth: int) -> type[BirdMAE]:
        class Lark(BirdMAE):
            pass

        return register_encoder(Lark, sizes={"lark": {**TINIEST, "depth": depth}})  # type: ignore[no-any-return]

    define(1)
    again = define(2)
    assert type(create_model("lark")) is again
    assert create_model("lark").depth == 2


def named(name: str, base: type, module: str = __name__) -> type:
    return type(name, (base,), {"__module__": module})


@pytest.mark.parametrize(
    ("given", "sizes", "said"),
    [
        (named("BAT", BirdMAE), {}, "BAT is oscine's own architecture; call that of .* otherwise"),
        (named("Lark", LinearProbe), {}, "Lark is no architecture; expected a class that builds on Encoder"),
        (Wren, {"bat_tiny": TINIEST}, "bat_tiny is a BAT already; give another name"),
        (Wren, {"wren.xcl": TINIEST}, "an encoder cannot be called 'wren.xcl'; expected letters, digits and _"),
        (Wren, {"wren": {"width": 8}}, "Wren has no setting width; did you mean pitch"),
        (Wren, {"wren": {"dim": 7}}, "dim=7, heads=12: dim must be a multiple of heads"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_changes_nothing(given: type, sizes: dict[str, dict[str, float]], said: str) -> None:
    before = list_models(), [*ENCODERS]
    with pytest.raises(OscineError, match=f"^{said}"):
        register_encoder(given, sizes=sizes)
    assert (list_models(), [*ENCODERS]) == before


def test_a_config_that_does_not_build_the_encoder_again_is_refused() -> None:
    class Lark(BirdMAE):
        def __init__(self) -> None:
            super().__init__(**TINIEST)  # type: ignore[arg-type]
            self.config = {**TINIEST}  # instead of what it was constructed with, which is nothing

    with pytest.raises(OscineError, match=r"^Lark.config has depth, dim, .*, which its constructor does not take"):
        register_encoder(Lark, sizes={"lark": {}})


def test_two_classes_of_one_name_are_told_apart_by_their_modules() -> None:
    for module in ("wrens", "larks"):
        Path(f"{module}.py").write_text("from oscine.models import BirdMAE\nclass Bird(BirdMAE):\n    pass\n")
        allow_plugin(f"{module}.py")
    with pytest.raises(OscineError, match=r"several plugins have a class Bird; call it larks:Bird or wrens:Bird"):
        ENCODERS["Bird"]
    assert ENCODERS["larks:Bird"].__module__ == "larks"
    assert ENCODERS.of_file("Bird", "wrens", "config.json").__module__ == "wrens"


def test_a_file_whose_module_has_another_name_by_now_is_read_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    register_encoder(Wren)
    assert ENCODERS.of_file("Wren", "wrens_of_last_year", "config.json") is Wren
    assert caplog.messages == [f"config.json is of wrens_of_last_year.Wren, and is read with the one of {__name__}"]


def test_a_name_of_oscine_with_somebodys_module_is_not_oscines_own() -> None:
    with pytest.raises(
        OscineError, match="unknown architecture 'BAT'; it is of the module 'wrens', which is not oscine's"
    ):
        ENCODERS.of_file("BAT", "wrens", "config.json")


@pytest.mark.parametrize(
    "name",
    ["no_such_module:Wren", "json:JSONDecoder", "wren", "os:system", "oscine.models.encoders.bat:BAT", ":", "a:b:c"],
)
def test_a_name_alone_imports_nothing(name: str) -> None:
    before = {*sys.modules}
    with pytest.raises(OscineError):
        create_model(name)
    assert not [new for new in {*sys.modules} - before if not new.startswith(("oscine.", "torch"))]


def test_parameters_that_a_constructor_hands_on_are_its_own() -> None:
    assert [*parameters_of(Wren)][:3] == ["pitch", "dim", "depth"]
    assert parameters_of(Wren)["depth"].annotation is int
    assert parameters_of(BirdMAE).keys() == parameters_of(Wren).keys() - {"pitch"}
