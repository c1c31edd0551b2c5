"""checkpoints.md says what the table in code says, and what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from oscine.models.checkpoints import EMBEDDED, LAYOUT, PUBLISHED, UNVERIFIED, Published
from oscine.models.encoders.names import ENCODERS
from oscine.models.hub.folder import build
from oscine.models.zoo import find_architecture
from oscine.probe.results.runs import published_figures

TEXT = (Path(__file__).resolve().parents[2] / "checkpoints.md").read_text()


def rows_below(start: str) -> list[dict[str, str]]:
    """The rows of the first table behind a text, each by column."""
    lines = TEXT.partition(start)[2].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    header, _, *rows = rows
    return [dict(zip(header, row, strict=True)) for row in rows]


def table(heading: str) -> dict[str, dict[str, str]]:
    """The first table under a heading, by the first cell of its rows."""
    rows = {next(iter(row.values())): row for row in rows_below(f"\n## {heading}\n")}
    assert len(rows) == len(rows_below(f"\n## {heading}\n")), "a row stands twice"
    return rows


def where(row: Published) -> dict[str, str]:
    return {
        "name": row.name,
        "Hub repository": row.repository or ("none, in oscine" if row.state == EMBEDDED else "none, take a file"),
        "revision": row.revision or ("newest" if row.repository else ""),
        "file": row.file,
        "sha256": row.sha256 or "not known",
        "licence": row.licence,
    }


def what(row: Published) -> dict[str, str]:
    known = find_architecture(row.name)
    with torch.device("meta"):
        encoder = build(ENCODERS[known.encoder], known.config)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return {
        "name": row.name,
        "paper": row.paper,
        "data": row.data,
        "sample rate": f"{encoder.sample_rate / 1000:g} kHz",
        "clip": f"{encoder.seconds:g} s",
        "parameters": f"{parameters / 1e6:.1f} M" if parameters else "in the file",
        "supervised": "yes" if row.supervised else "no",
        "state": row.state,
    }


@pytest.mark.parametrize(("heading", "cells"), [("Where they are", where), ("What they are", what)])
def test_the_readable_table_has_the_rows_of_the_one_in_code(heading, cells):
    assert table(heading) == {row.name: cells(row) for row in PUBLISHED}


def test_every_state_is_explained():
    for state in {row.state for row in PUBLISHED} | {LAYOUT, UNVERIFIED}:
        assert f"- **{state}**: " in TEXT


def test_results_are_of_weights_in_the_table():
    results = TEXT.partition("\n## Results that their authors report\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+\.\w+)`", results))
    assert named
    assert named <= {row.name for row in PUBLISHED}


def test_the_reviews_figures_are_those_that_compare_shows():
    lines = [line for line in TEXT.partition("| encoder | probe | BEANS |")[2].splitlines() if line.startswith("| ")]
    rows = {(cells[0], cells[1]): cells[3:] for line in lines[1:] if (cells := line[2:-2].split(" | "))[3:]}
    sets = ["per", "nes", "uhh", "hsn", "nbp", "ssw", "sne"]
    seen: dict[tuple[str, str], dict[str, float]] = {}
    for figure in published_figures():
        if "2508.01277" in figure.source and figure.metric == "cmap" and figure.task in sets:
            seen.setdefault((figure.encoder, figure.probe), {})[figure.task] = figure.value
    assert len(seen) == 9
    for who, figures in seen.items():
        shown = [float(cell) / 100 for cell in rows[who]]
        assert shown[:7] == pytest.approx([figures[name] for name in sets])
        assert shown[7] == pytest.approx(sum(figures.values()) / 7, abs=2e-4)


def compared(source: str) -> dict[tuple[str, ...], float]:
    """What `oscine compare` shows of a source, in percent."""
    figures = [figure for figure in published_figures() if source in figure.source]
    return {figure[:4]: pytest.approx(100 * figure.value) for figure in figures}


def test_birdmaes_figures_are_those_that_compare_shows():
    probes = {
        "fine-tuned, prototypical pooling": "fine-tuned-prototypical",
        "frozen, prototypical probe": "prototypical",
        "frozen, attentive": "attentive",
        "frozen, MLP": "mlp",
        "frozen, linear": "linear",
    }
    sizes = {"bird_mae_base.xcl": "Bird-MAE-B", "bird_mae_large.xcl": "Bird-MAE-L", "bird_mae_huge.xcl": "Bird-MAE-H"}
    rows = rows_below("a public guide to reproducing Bird-MAE")
    shown = {
        ("hsn", "cmap", sizes[row["weights"]], probe): float(row[column])
        for row in rows
        for column, probe in probes.items()
        if row[column]
    }
    assert shown == compared("2504.12880")
    assert len(shown) == 9


def test_bats_figures_are_those_that_compare_shows():
    columns = {
        "AudioSet-2M": ("audioset_2m", "map"),
        "AudioSet-20k": ("audioset_20k", "map"),
        "SED": ("dcase2016", "frame_map"),
        "HSN": ("hsn", "map"),
        "ESC-50": ("esc50", "accuracy"),
        "Speech Commands": ("speech_commands", "accuracy"),
    }
    encoders = {"bat_base": "BAT", "sslam_base": "SSLAM", "eat_base": "EAT", "beats_base": "BEATs"}
    probes = {"fine-tuned": "fine-tuned", "convex gated": "cgp", "ProtoBin": "protobin", "linear": "linear"}
    shown, encoder = {}, ""
    for row in rows_below("Table 5 of BAT's camera-ready version"):
        encoder = encoders[row["weights"].partition(".")[0]] if row["weights"] else encoder
        for column, (task, metric) in columns.items():
            shown[task, metric, encoder, probes[row["probe"]]] = float(row[column])
    assert shown == {key: value for key, value in compared("table 5").items() if key[:2] in columns.values()}
    assert len(shown) == 96


def test_audiomosaics_figures_are_those_that_compare_shows():
    rows = {row["weights"]: row for row in rows_below("\nAudioMosaic, from its README")}
    splits = [
        float(score) for score in rows["audiomosaic_base.esc50_1` to `audiomosaic_base.esc50_5"]["score"].split(",")
    ]
    twenty = rows["audiomosaic_base.as20k_ft"]
    shown = {
        ("audioset_2m", "map", "fine-tuned"): float(rows["audiomosaic_base.as2m_ft"]["score"]),
        ("audioset_20k", "map", "fine-tuned"): float(twenty["score"]),
        ("audioset_20k", "map", "linear"): float(twenty["frozen `audiomosaic_base.as2m`, linear"]),
        ("esc50", "accuracy", "fine-tuned"): sum(splits) / 5,
    }
    assert shown == {
        (task, metric, probe): value for (task, metric, _, probe), value in compared("AudioMosaic").items()
    }


def test_every_name_that_is_shown_is_known():
    for name in re.findall(r'(?:create_model|list_models)\("([^"]+)"', TEXT):
        known = name.startswith(("hf-hub:", "local-dir:", "onnx-file:")) or name in {row.name for row in PUBLISHED}
        assert known or "*" in name, name


def test_pins_have_the_form_of_what_they_are():
    for row in PUBLISHED:
        assert re.fullmatch("[0-9a-f]{64}", row.sha256 or 64 * "0")
        assert re.fullmatch("[0-9a-f]{40}", row.revision or 40 * "0"), "a branch or tag can move"
