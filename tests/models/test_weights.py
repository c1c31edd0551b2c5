"""Strict loading, from every layout that the authors' files come in."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from oscine.models.bat import BAT
from oscine.models.bird_mae import BirdMAE
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.weights import load_weights
from oscine.models.zoo import create_model

State = dict[str, Tensor]
DECODER = {"mask_token": torch.ones(1, 1, 8), "blocks.0.norm1.weight": torch.ones(8)}
HEAD = {"head.weight": torch.ones(5, 48), "head.bias": torch.ones(5)}


def tiny(architecture: type[Encoder]) -> Encoder:
    return architecture(dim=48, depth=2, heads=4, seconds=1.0)  # type: ignore[call-arg]


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


@pytest.mark.parametrize("architecture", [BAT, BirdMAE])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_fills_every_tensor(tmp_path, architecture, layout):
    torch.manual_seed(0)
    state = {name: torch.randn_like(tensor) for name, tensor in tiny(architecture).state_dict().items()}
    encoder = tiny(architecture)
    load_weights(encoder, write(tmp_path / layout, LAYOUTS[layout](state)))
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_a_masked_autoencoders_checkpoint_gets_the_identity_for_fc_norm(tmp_path):
    state = {name: torch.randn_like(tensor) for name, tensor in tiny(BirdMAE).state_dict().items()}
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
    state = {name: torch.randn_like(tensor) for name, tensor in tiny(BAT).state_dict().items()}
    path = write(tmp_path / "lightning.ckpt", LAYOUTS["lightning.ckpt"](state))
    encoder = create_model("bat_tiny", checkpoint_path=path, dim=48, depth=2, heads=4)
    assert torch.equal(encoder.state_dict()["pre_norm.bias"], state["pre_norm.bias"])


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
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "dump", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path, dump):
    sprung = tmp_path / "sprung"
    dump({"state_dict": tiny(BAT).state_dict(), "extra": Trap(sprung)}, tmp_path / "trap.pt")
    with pytest.raises(OscineError, match=r"trap\.pt is no torch file with weights alone") as caught:
        load_weights(tiny(BAT), tmp_path / "trap.pt")
    assert "\n" not in str(caught.value)
    assert not sprung.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(3), {"state_dict": [torch.ones(1)]}, {}])
def test_a_torch_file_without_a_state_dict_is_refused(tmp_path, content):
    with pytest.raises(OscineError, match=r"other\.pt"):
        load_weights(tiny(BAT), write(tmp_path / "other.pt", content))


def test_half_precision_weights_are_loaded_as_float32(tmp_path):
    state = {name: tensor.half() for name, tensor in tiny(BAT).state_dict().items()}
    encoder = tiny(BAT)
    load_weights(encoder, write(tmp_path / "half.safetensors", state))
    assert {tensor.dtype for tensor in encoder.state_dict().values()} == {torch.float32}
    assert torch.equal(encoder.pre_norm.weight.half(), state["pre_norm.weight"])
