"""What was predicted comes back from its file as it was, and two runs are held together row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from oscine.models.errors import OscineError
from oscine.models.text.safe_text import from_cell
from oscine.probe.fit.judge import Judgement
from oscine.probe.results.predictions import (
    Predictions,
    align_rows,
    predictions_of,
    read_predictions,
    write_predictions,
)
from oscine.probe.tasks.task import Part, Task

ORDER = torch.tensor([3, 1])  # not ascending: predictions are in the order of the parts


def judged(single_label: bool = False) -> Predictions:
    rows = pd.DataFrame(
        {
            "path": ["a.wav", "a.wav", "b.wav", "c.wav"],
            "start": [0.0, 5.0, np.nan, 0.25],
            "end": [5.0, 10.0, np.nan, 3.0],
            "recordist": ["ann", "ann", None, "ann"],
        }
    )
    targets = (
        torch.tensor([0, 2, 1, 2]) if single_label else torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1.0]])
    )
    parts = [Part("fold 1", torch.tensor([0, 2]), ORDER), Part("fold 2", ORDER, torch.tensor([0, 2]))]
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    return predictions_of(
        Judgement(["fold 1", "fold 2"], [], logits=[logits[:2], logits[2:]]),
        Task(rows, ["tit", "wren", "owl; barn"], targets, parts),
    )


def test_rows_stand_in_the_order_in_which_they_were_judged() -> None:
    found = judged()
    assert found.rows["path"].tolist() == ["c.wav", "a.wav", "a.wav", "b.wav"]
    assert found.rows["part"].tolist() == ["fold 1", "fold 1", "fold 2", "fold 2"]
    assert found.rows["group"].tolist() == [0, 0, 0, 1]
    assert found.targets.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert [rows.tolist() for rows in found.parts] == [[0, 1], [2, 3]]
    assert judged(single_label=True).targets.tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_a_row_is_named_as_its_table_names_it_too(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["/here/a.wav", "/here/b.wav"], "file": ["=a.wav", "b.wav"]})
    task = Task(rows, ["tit", "wren"], torch.tensor([0, 1]), [Part("test", torch.arange(0), torch.arange(2))])
    write_predictions(tmp_path / "p.parquet", predictions_of(Judgement(["test"], [], logits=[torch.eye(2)]), task))
    found = pd.read_csv(tmp_path / "p.csv")
    assert list(found)[:2] == ["file", "path"]
    assert found["file"].map(from_cell).tolist() == ["=a.wav", "b.wav"]
    assert found["path"].tolist() == rows["path"].tolist()
    assert read_predictions(tmp_path / "p.parquet").rows["path"].tolist() == rows["path"].tolist()


def test_a_table_for_excel_and_r_says_what_was_right(tmp_path: Path) -> None:
    written = judged(single_label=True)
    written.logits[0, 2] += 9
    write_predictions(tmp_path / "predictions.parquet", written)
    found = pd.read_csv(tmp_path / "predictions.csv")
    names = [f"probability {name}" for name in written.classes]
    assert list(found) == ["path", "start", "end", "part", "labels", "predicted", "right", *names]
    np.testing.assert_allclose(found[names], written.probabilities, atol=1e-6)
    assert found["labels"].tolist() == ["owl; barn", "owl; barn", "tit", "wren"]
    assert found["predicted"].tolist() == [written.classes[place] for place in written.logits.argmax(1)]
    assert found["right"].tolist() == (found["labels"] == found["predicted"]).tolist()
    assert 0 < found["right"].sum() < 4


def test_no_name_in_the_table_for_excel_is_run_there_and_all_are_read_back(tmp_path: Path) -> None:
    written = judged()
    strange = replace(
        written,
        classes=["=1+1", "\x1b]0;t\x07", "-noise"],
        rows=written.rows.assign(path=["=a.wav", "b\tc.wav", "d\n.wav", "'=e.wav"], part=["=x"] * 4),
    )
    write_predictions(tmp_path / "predictions.parquet", strange)
    found = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False, dtype=str)
    assert (tmp_path / "predictions.csv").read_text().replace("\n", "").isprintable()
    assert [from_cell(path) for path in found["path"]] == strange.rows["path"].tolist()
    assert from_cell(found["labels"][0]) == ";".join(strange.classes)
    cells = [cell for column in found[["path", "part", "labels", "predicted"]] for cell in found[column]]
    assert not [part for cell in cells for part in cell.split(";") if part.startswith(("=", "-", "@", "+"))]
    assert read_predictions(tmp_path / "predictions.parquet").classes == strange.classes


def test_of_several_labels_those_that_are_likely_are_predicted(tmp_path: Path) -> None:
    written = judged()
    write_predictions(tmp_path / "predictions.parquet", written)
    found = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    for row, logits in zip(found.itertuples(), written.logits):
        assert row.predicted == ";".join(name for name, logit in zip(written.classes, logits) if logit >= 0)


def test_a_big_table_for_excel_has_no_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oscine.probe.results.predictions.NUMBERS", 11)
    write_predictions(tmp_path / "predictions.parquet", judged())
    assert list(pd.read_csv(tmp_path / "predictions.csv")) == [
        "path", "start", "end", "part", "labels", "predicted", "right",
    ]  # fmt: skip


@pytest.mark.parametrize("single_label", [False, True])
def test_predictions_come_back_as_they_were(tmp_path: Path, single_label: bool) -> None:
    written = judged(single_label)
    write_predictions(tmp_path / "predictions.parquet", written)
    found = read_predictions(tmp_path / "predictions.parquet")
    pd.testing.assert_frame_equal(found.rows, written.rows)
    assert (found.classes, found.kind) == (written.classes, written.kind)
    assert torch.equal(found.logits, written.logits)
    assert torch.equal(found.targets, written.targets)
    assert found.probabilities.sum(1).allclose(torch.ones(4).double()) == single_label


def test_a_file_can_be_read_without_oscine(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", judged())
    table = pd.read_parquet(tmp_path / "p.parquet")
    assert list(table.columns) == [
        "path", "start", "end", "part", "group", "labels", "logit tit", "logit wren", "logit owl; barn",
    ]  # fmt: skip
    assert [list(labels) for labels in table["labels"]] == [
        ["tit", "wren", "owl; barn"],
        [],
        ["tit", "owl; barn"],
        ["wren"],
    ]


def test_rows_in_another_order_are_put_into_the_first_ones() -> None:
    first, order = judged(), torch.tensor([2, 0, 3, 1])
    second = replace(
        first, rows=first.rows.iloc[order.numpy()], targets=first.targets[order], logits=first.logits[order]
    )
    found = align_rows(first, second)
    pd.testing.assert_frame_equal(found.rows, first.rows)
    assert torch.equal(found.logits, first.logits)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"classes": ["tit", "wren"]}, "the two know 3 and 2 classes, not the same; compare runs of one task"),
        ({"rows": judged().rows.assign(part="test")}, "judged on 4 and 4 rows, of which they share 0; compare runs of"),
        ({"rows": judged().rows.iloc[:3]}, "judged on 4 and 3 rows, of which they share 3; compare runs of one task"),
        ({"targets": 1 - judged().targets}, "the two were judged by other labels of the same rows"),
    ],
)
def test_what_is_no_run_of_the_same_task_gets_a_clear_line(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint) as caught:
        align_rows(judged(), replace(judged(), **change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_holds_no_predictions_gets_a_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    with pytest.raises(OscineError, match=r"no predictions .*; oscine probe writes them beside a run's scores"):
        read_predictions(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(OscineError, match=r"predictions.parquet cannot be read \(.*\); run oscine probe again"):
        read_predictions(path)
    pd.DataFrame({"path": ["a"]}).to_parquet(path)
    with pytest.raises(OscineError, match="holds no predictions of oscine probe; it has path"):
        read_predictions(path)
