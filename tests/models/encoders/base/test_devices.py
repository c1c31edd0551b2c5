"""The best device that is there is taken where none is named."""

from __future__ import annotations

import pytest
import torch

from oscine.models.encoders.base.devices import choose_device, clips_at_once, device_name


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_cpu(cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device() == choose_device("auto") == expected
    for named in ("cpu", "cuda:1", "mps", "abacus"):
        assert choose_device(named) == named


def test_a_gpu_takes_more_clips_at_once() -> None:
    assert [clips_at_once(device) for device in ("cpu", "cuda", "cuda:1", "mps")] == [1, 16, 16, 16]


def test_a_device_has_a_name() -> None:
    assert device_name("cpu")
    assert device_name("meta").startswith("meta (")
