"""Strict loading, from every layout that the authors' files come in."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import subprocess
import sys
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.convnext import ConvNeXt
from oscine.models.encoders.eat import EAT
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.encoders.wav2vec2 import Wav2Vec2
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.folder import save_pretrained
from oscine.models.hub.weights import KEY_MAPPERS, load_weights
from oscine.models.zoo import create_model
from tests.tiny_encoders import tiny_convnext

State = dict[str, Tensor]
DECODER = {"mask_token": torch.ones(1, 1, 8), "blocks.0.norm1.weight": torch.ones(8)}
HEAD = {"head.weight": torch.ones(5, 48), "head.bias": torch.ones(5)}


OF_TENSORS = [kind for kind in KEY_MAPPERS if kind is not ONNXEncoder]  # whose file is one buffer: test_onnx_files.py


def tiny(architecture: type[Encoder]) -> Encoder:
    if architecture is ConvNeXt:
        return tiny_convnext()
    return architecture(dim=48, depth=2, heads=4, seconds=1.0)  # type: ignore[call-arg]


def seeded(architecture: type[Encoder]) -> State:
    """Values for every tensor of an encoder, among them those that training never touches."""
    torch.manual_seed(0)
    return {name: torch.randn_like(tensor) for name, tensor in tiny(architecture).state_dict().items()}


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


# name of the file, and what stands in it for an encoder's state
LAYOUTS: dict[str, Callable[[State], object]] = {
    "bare.safetensors": lambda state: state,
    "model_prefix.safetensors": lambda state: under("model.", state),
    "encoder_prefix.safetensors": lambda state: under("encoder.", state),
    "beside_a_decoder.safetensors": lambda state: state | under("decoder.", DECODER),
    "classifier.safetensors": lambda state: state | HEAD,
    "bare.pt": lambda state: state,
    "encoder_prefix.pt": lambda state: under("encoder.", state) | under("decoder.", DECODER),
    "lightning.ckpt": lambda state: {
        "state_dict": under("student.encoder.", state)
        | under("student.decoder.", DECODER)
        | under("teacher.encoder.", {name: tensor + 1 for name, tensor in state.items()}),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 5e-4}]}],
        "epoch": 3,
    },
    "trainer.pt": lambda state: {
        "encoder": state,
        "decoder": DECODER,
        "ema_encoder": {name: tensor + 1 for name, tensor in state.items()},
        "optimized_steps": 402_610,
        "args": Namespace(lr=5e-4, betas=(0.9, 0.95)),
    },
}


def write(path: Path, content: object) -> Path:
    if path.suffix == ".safetensors":
        assert isinstance(content, dict)
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def check(encoder: Encoder, state: State) -> None:
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("architecture", [BAT, BirdMAE])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_fills_every_tensor(tmp_path, architecture, layout):
    state, encoder = seeded(architecture), tiny(architecture)
    load_weights(encoder, write(tmp_path / layout, LAYOUTS[layout](state)))
    check(encoder, state)


@pytest.mark.parametrize("architecture", OF_TENSORS)
def test_every_encoder_loads_what_oscine_itself_saved(tmp_path, architecture):
    state, encoder = seeded(architecture), tiny(architecture)
    load_weights(encoder, write(tmp_path / "ours.safetensors", state))
    check(encoder, state)


def renamed(state: State, names: dict[str, str]) -> State:
    """The tensors under other names, by how their names begin."""
    for ours, theirs in names.items():
        state = {theirs + name.removeprefix(ours) if name.startswith(ours) else name: state[name] for name in state}
    return state


def eat_on_the_hub(state: State) -> State:
    names = {
        "cls_token": "extra_tokens",
        "pos_embed": "fixed_positional_encoder.positions",
        "patch_embed.proj.": "local_encoder.proj.",
    }
    return under("model.", renamed(state, names))


def eat_of_fairseq(state: State) -> dict[str, object]:
    names = {
        "cls_token": "modality_encoders.IMAGE.extra_tokens",
        "pos_embed": "modality_encoders.IMAGE.fixed_positional_encoder.positions",
        "patch_embed.proj.": "modality_encoders.IMAGE.local_encoder.proj.",
        "pre_norm.": "modality_encoders.IMAGE.context_encoder.norm.",
    }
    longer = torch.cat([state["pos_embed"], torch.ones(1, 6144 - state["pos_embed"].shape[1], 48)], dim=1)
    theirs = renamed(state | {"pos_embed": longer}, names)
    return theirs | {"modality_encoders.IMAGE.decoder.proj.weight": torch.ones(3, 3), "_ema": dict(theirs)}


CONVNEXT_PLACES = {  # from timm's names to transformers'
    r"^stem\.0\.": "embeddings.patch_embeddings.",
    r"^stem\.1\.": "embeddings.layernorm.",
    r"^head\.norm\.": "layernorm.",
    r"^stages\.": "encoder.stages.",
    r"\.downsample\.": ".downsampling_layer.",
    r"\.norm\.": ".layernorm.",
    r"\.blocks\.": ".layers.",
    r"\.conv_dw\.": ".dwconv.",
    r"\.mlp\.fc": ".pwconv",
    r"\.gamma$": ".layer_scale_parameter",
}


def convnext_on_the_hub(state: State) -> State:
    theirs = {}
    for name, tensor in state.items():
        for timms, hub in CONVNEXT_PLACES.items():
            name = re.sub(timms, hub, name)
        theirs[name] = tensor
    classifier = {"classifier.weight": torch.ones(6, 40), "classifier.bias": torch.ones(6)}
    return under("convnext.", theirs) | classifier


def current_pytorch(state: State) -> State:
    """The same tensors, as a current PyTorch names the two of a weight norm."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    for older, current in names.items():
        state = {name.replace(older, current): tensor for name, tensor in state.items()}
    return state


def avex(state: State) -> State:
    """As avex saves a model: its encoder under a prefix, and a classifier."""
    return under("backbone.", current_pytorch(state)) | {"classifier.weight": torch.ones(5, 48)}


def wav2vec2_on_the_hub(state: State) -> State:
    theirs = current_pytorch(state) | {"masked_spec_embed": torch.ones(48)}
    heads = {"projector.weight": torch.ones(8, 48), "classifier.weight": torch.ones(5, 8)}
    return under("wav2vec2.", theirs) | heads


# By the name of an encoder's class, what its authors' files hold.
ON_THE_HUB: dict[str, Callable[[State], State]] = {
    "BEATs": avex,
    "ConvNeXt": convnext_on_the_hub,
    "EAT": eat_on_the_hub,
    "Wav2Vec2": wav2vec2_on_the_hub,
}


# What the authors of the other encoders publish, as they publish it.
OTHERS: list[tuple[type[Encoder], str, Callable[[State], object]]] = [
    (EAT, "hub.safetensors", eat_on_the_hub),
    (EAT, "fairseq.pt", lambda state: {"args": None, "cfg": Namespace(lr=1), "model": eat_of_fairseq(state)}),
    (
        EAT,
        "avex.safetensors",
        lambda state: avex(eat_on_the_hub(state)),
    ),
    (BEATs, "BEATs_iter3.pt", lambda state: {"cfg": {"encoder_layers": 12}, "model": state}),
    (BEATs, "avex.safetensors", avex),
    (Wav2Vec2, "wav2vec2.safetensors", wav2vec2_on_the_hub),
    (Wav2Vec2, "hubert.bin", current_pytorch),
    (ConvNeXt, "convnext.safetensors", convnext_on_the_hub),
    (AudioMAE, "timm.safetensors", lambda state: state | HEAD),
    (
        AudioMAE,
        "pretrained.pth",
        lambda state: {"model": state | {"mask_token": torch.ones(1), **under("decoder_", DECODER)}},
    ),
]


@pytest.mark.parametrize(("architecture", "name", "layout"), OTHERS, ids=[name for _, name, _ in OTHERS])
def test_every_layout_of_the_other_authors_fills_every_tensor(tmp_path, architecture, name, layout):
    state, encoder = seeded(architecture), tiny(architecture)
    load_weights(encoder, write(tmp_path / name, layout(state)))
    check(encoder, state)


def test_what_stands_beside_the_encoder_is_left_out_and_said(tmp_path, caplog):
    caplog.set_level("INFO", "oscine")
    state = seeded(BEATs)
    extra = {"predictor.weight": torch.ones(5, 48), "predictor.bias": torch.ones(5)}
    load_weights(tiny(BEATs), write(tmp_path / "tuned.pt", {"model": state | extra}))
    load_weights(tiny(BEATs), write(tmp_path / "bare.safetensors", state))
    load_weights(tiny(EAT), write(tmp_path / "eat.safetensors", eat_on_the_hub(seeded(EAT))))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'tuned.pt'} has 2 tensors beside the encoder (predictor.bias, predictor.weight), which are left out"
    ]


def test_of_two_encoders_in_a_file_the_one_under_the_prefix_is_loaded(tmp_path):
    state = seeded(BAT)
    teacher = {name: tensor + 1 for name, tensor in state.items()}
    path = write(tmp_path / "both.pt", under("mine.student.", state) | under("mine.teacher.", teacher))
    for prefix, expected in (("mine.student.", state), ("mine.teacher.", teacher)):
        encoder = create_model("bat_tiny", checkpoint_path=path, prefix=prefix, dim=48, depth=2, heads=4)
        check(encoder, expected)
    with pytest.raises(
        OscineError, match=r"no tensor of .*both\.pt begins with 'wren\.'; they begin with mine\. \(\d+\)"
    ):
        load_weights(tiny(BAT), path, "wren.")


@pytest.mark.parametrize("architecture", OF_TENSORS)
def test_names_that_differ_are_said_as_they_begin_there_and_here(tmp_path, architecture):
    state = under("deep.inside.", {f"x{name}": tensor for name, tensor in seeded(architecture).items()})
    path = write(tmp_path / "strange.safetensors", state | {"other": torch.ones(1)})
    with pytest.raises(
        OscineError,
        match=rf"the file's names begin with deep\. \({len(state)}\), other, those of {architecture.__name__} with .*"
        r"choose the model.*oscine convert NAME OUT --checkpoint FILE --prefix PREFIX",
    ) as caught:
        load_weights(tiny(architecture), path)
    assert "\n" not in str(caught.value)


def test_a_prefix_without_a_file_is_refused():
    with pytest.raises(
        OscineError, match=r"prefix='teacher\.' chooses tensors of a file of weights, and none was given"
    ):
        create_model("bat_tiny", prefix="teacher.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "hf-hub:me/mine"}, "goes with a name of the zoo and its file of tensors, not with hf-hub:me/mine"),
        ({"name": "hf-hub:me/mine", "pretrained": True}, "goes with a name of the zoo .* not with hf-hub:me/mine"),
        ({"name": "local-dir:saved"}, "goes with a name of the zoo .* not with local-dir:saved"),
        ({"name": "onnx-file:mine.onnx"}, r"goes with a name of the zoo .* not with onnx-file:mine\.onnx"),
        (
            {"name": "perch_v2", "checkpoint_path": "mine.onnx"},
            r"mine\.onnx is an ONNX file, taken whole; leave it out",
        ),
        ({"name": "perch_v2", "pretrained": True}, r"perch_v2\.onnx is an ONNX file, taken whole; leave it out"),
    ],
)
def test_a_prefix_is_refused_where_nothing_is_chosen_by_it(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_pretrained(create_model("bat_tiny"), tmp_path / "saved")
    (tmp_path / "mine.onnx").write_bytes(b"graph")
    with pytest.raises(OscineError, match=rf"^prefix='teacher\.' .*{words}"):
        create_model(**arguments, prefix="teacher.")


def test_a_masked_autoencoders_checkpoint_gets_the_identity_for_fc_norm(tmp_path):
    state = seeded(BirdMAE)
    trained = {name: tensor for name, tensor in state.items() if not name.startswith("fc_norm")}
    content = {"state_dict": under("encoder.", trained) | under("decoder.", DECODER), "global_step": 166_000}
    encoder = tiny(BirdMAE)
    load_weights(encoder, write(tmp_path / "mae.ckpt", content))
    loaded = encoder.state_dict()
    assert torch.equal(loaded["fc_norm.weight"], torch.ones(48))
    assert torch.equal(loaded["fc_norm.bias"], torch.zeros(48))
    for name, tensor in trained.items():
        assert torch.equal(loaded[name], tensor), name


def test_create_model_loads_a_checkpoint(tmp_path):
    state = seeded(BAT)
    path = write(tmp_path / "lightning.ckpt", LAYOUTS["lightning.ckpt"](state))
    encoder = create_model("bat_tiny", checkpoint_path=path, dim=48, depth=2, heads=4)
    check(encoder, state)
    hashed = {"model": "bat_tiny", "repository": None, "revision": None, "sha256": file_hash(path)}
    assert encoder.provenance == hashed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("blocks.1.attn.qkv.bias"), r"1 missing \(blocks\.1\.attn\.qkv\.bias\)"),
        (lambda state: state.update(surplus=torch.ones(1)), r"1 unexpected \(surplus\)"),
        (
            lambda state: state.update(cls_token=torch.ones(1, 1, 64)),
            r"1 of another shape \(cls_token \(1, 1, 64\) for \(1, 1, 48\)\)",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_loaded(tmp_path, change, words):
    encoder = tiny(BAT)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in before.items()}
    change(state)
    with pytest.raises(OscineError, match=rf"odd\.safetensors does not fit BAT: .*{words}") as caught:
        load_weights(encoder, write(tmp_path / "odd.safetensors", state))
    assert "\n" not in str(caught.value)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_another_architectures_weights_are_refused(tmp_path):
    path = write(tmp_path / "bat.safetensors", tiny(BAT).state_dict())
    with pytest.raises(OscineError, match=r"does not fit BirdMAE: .*missing \(.*\.\.\.\).*unexpected \("):
        load_weights(tiny(BirdMAE), path)


def test_a_missing_file_is_named(tmp_path):
    for name in ("gone.safetensors", "gone.pt"):
        with pytest.raises(OscineError, match=rf"no weights at .*{name}"):
            load_weights(tiny(BAT), tmp_path / name)


@pytest.mark.parametrize("length", [0, 4, 5000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_cut_short_is_named(tmp_path, suffix, length):
    path = write(tmp_path / f"cut{suffix}", tiny(BAT).state_dict())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(OscineError, match=rf"cut\{suffix} is no ") as caught:
        load_weights(tiny(BAT), path)
    assert "\n" not in str(caught.value)


class Trap:
    """Unpickling this calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


TRAPS: dict[str, Callable[[Path], Trap]] = {
    "code as text": lambda sprung: Trap(exec, f"open({str(sprung)!r}, 'w')"),
    "a program": lambda sprung: Trap(subprocess.call, ["touch", str(sprung)]),
    "a file": lambda sprung: Trap(open, str(sprung), "w"),
}
REFUSED_TRAPS: dict[str, Callable[[Path], Trap]] = {
    "the shell": lambda sprung: Trap(os.system, f"touch {sprung}"),
    "a method of an object": lambda sprung: Trap(Path.touch, sprung),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_code_in_a_file_is_not_run(tmp_path, trap):
    sprung, state = tmp_path / "sprung", seeded(BAT)
    torch.save({"state_dict": state, "extra": TRAPS[trap](sprung)}, tmp_path / "trap.pt")
    encoder = tiny(BAT)
    load_weights(encoder, tmp_path / "trap.pt")
    check(encoder, state)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "dump", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
@pytest.mark.parametrize("trap", REFUSED_TRAPS)
def test_a_file_whose_code_has_no_stand_in_is_refused_and_not_run(tmp_path, trap, dump):
    sprung = tmp_path / "sprung"
    dump({"state_dict": seeded(BAT), "extra": REFUSED_TRAPS[trap](sprung)}, tmp_path / "trap.pt")
    with pytest.raises(OscineError, match=r"trap\.pt is no torch file with weights alone") as caught:
        load_weights(tiny(BAT), tmp_path / "trap.pt")
    assert "\n" not in str(caught.value)
    assert not sprung.exists()


def test_the_traps_would_spring(tmp_path):
    for number, trap in enumerate((TRAPS | REFUSED_TRAPS).values()):
        sprung = tmp_path / str(number)
        pickle.loads(pickle.dumps(trap(sprung)))
        assert sprung.exists()


def test_objects_beside_the_weights_do_nothing_and_their_modules_are_not_imported(tmp_path, monkeypatch):
    """A module that notes when it is imported; its classes, and others that trainers store, lie in the file."""
    imported = tmp_path / "imported"
    code = f"open({str(imported)!r}, 'w')\nclass Settings: pass\nclass AttributeDict(dict): pass\ndef hook(): pass\n"
    (tmp_path / "somebodys_trainer.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    trainer = importlib.import_module("somebodys_trainer")
    settings = trainer.Settings()
    settings.lr = 5e-4
    state = seeded(BAT)
    content = {
        "state_dict": state,
        "hyper_parameters": trainer.AttributeDict(settings=settings, lr=5e-4),
        "callbacks": [trainer.hook, trainer.Settings, settings, tmp_path, date(2026, 11, 21)],
        "scores": (np.float64(0.5), np.arange(3), defaultdict(list, a=[1]), Namespace(lr=1), Counter("ab"), {1, 2}),
    }
    torch.save(content, tmp_path / "run.ckpt")
    imported.unlink()
    monkeypatch.delitem(sys.modules, "somebodys_trainer")
    encoder = tiny(BAT)
    load_weights(encoder, tmp_path / "run.ckpt")
    check(encoder, state)
    assert not imported.exists()
    assert "somebodys_trainer" not in sys.modules


def test_what_a_file_names_is_not_trusted_afterwards_either(tmp_path):
    torch.save({"state_dict": seeded(BAT), "args": Namespace(lr=1)}, tmp_path / "run.ckpt")
    load_weights(tiny(BAT), tmp_path / "run.ckpt")
    assert torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "run.ckpt") == ["argparse.Namespace"]


@pytest.mark.parametrize(
    "content", [[1, 2], {"epoch": 3}, torch.ones(3), {"state_dict": [torch.ones(1)]}, {"a": date(2026, 11, 21)}, {}]
)
def test_a_torch_file_without_a_state_dict_is_refused(tmp_path, content):
    with pytest.raises(OscineError, match=r"other\.pt"):
        load_weights(tiny(BAT), write(tmp_path / "other.pt", content))


def test_half_precision_weights_are_loaded_as_float32(tmp_path):
    state = {name: tensor.half() for name, tensor in tiny(BAT).state_dict().items()}
    encoder = tiny(BAT)
    load_weights(encoder, write(tmp_path / "half.safetensors", state))
    assert {tensor.dtype for tensor in encoder.state_dict().values()} == {torch.float32}
    assert torch.equal(encoder.pre_norm.weight.half(), state["pre_norm.weight"])


NOT_READ = ("float32", "float16", "bfloat16", "float64", "int8", "int64", "uint8", "bool", "complex64", "float8_e4m3fn")


@pytest.mark.parametrize("kind", NOT_READ)
def test_weights_in_other_numbers_are_said_where_they_are_fractions_and_refused_where_not(kind, tmp_path, caplog):
    """Cast without a word, weights in int8 were an encoder of zeros."""
    state = {name: tensor.to(getattr(torch, kind)) for name, tensor in seeded(BAT).items()}
    path = write(tmp_path / "odd.safetensors", state)
    encoder = tiny(BAT)
    if kind in NOT_READ[:4]:
        load_weights(encoder, path)
        assert {tensor.dtype for tensor in encoder.state_dict().values()} == {torch.float32}
        said = [record.getMessage() for record in caplog.records]
        first = f"{len(state)} tensors ({min(state)} {kind}, "
        assert said == [] if kind == "float32" else len(said) == 1 and first in said[0]
    else:
        with pytest.raises(OscineError, match=rf"{len(state)} of another type \({min(state)} {kind} for float32, "):
            load_weights(encoder, path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(number, tmp_path):
    state = seeded(BAT)
    state["blocks.0.attn.qkv.bias"][3] = number
    encoder = tiny(BAT)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(
        OscineError,
        match=r"1 with NaN or infinity \(blocks.0.attn.qkv.bias\); fetch it again, or take an earlier state",
    ):
        load_weights(encoder, write(tmp_path / "odd.safetensors", state))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


class Call:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("kind", ["raw", "zip", "legacy", "junk", "empty", "cut", "text"])
def test_nobody_is_told_to_load_a_file_with_less_care(kind, tmp_path):
    """torch advises to load with weights_only=False, which would run what is in it."""
    path, evil = tmp_path / "evil.pt", Call(os.mkdir, str(tmp_path / "pwned"))
    torch.save({"model": evil}, path, _use_new_zipfile_serialization=kind != "legacy")
    if kind == "raw":
        path.write_bytes(pickle.dumps(evil))
    elif kind not in ("zip", "legacy"):
        path.write_bytes({"junk": b"\x80\x02junk", "empty": b"", "cut": path.read_bytes()[:90], "text": b"hello"}[kind])
    with pytest.raises(OscineError) as caught:
        load_weights(tiny(BAT), path)
    said = str(caught.value)
    assert "weights_only" not in said
    assert "torch.load" not in said
    assert "\n" not in said
    assert not (tmp_path / "pwned").exists()
