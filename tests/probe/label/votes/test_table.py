"""The table that is written is the one that a probe is fitted on, without what nobody has said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.models.errors import Misuse, OscineError
from oscine.probe.label.votes.combine import CombineSettings, combine_votes
from oscine.probe.label.votes.crowd_maps import CROWD_MAPS
from oscine.probe.label.votes.methods import CROWD, ONE_LABEL, SEVERAL_LABELS, WITH_FEATURES
from oscine.probe.label.votes.read import VoteSettings, read_votes
from oscine.probe.label.votes.table import TableSettings, write_combined
from oscine.probe.label.votes.votes import Votes
from oscine.probe.tasks.task import read_task
from tests.embedding_tables import write_embeddings

CLIPS, CLASSES = 60, ["rook", "tit", "wren"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of a second; embeddings that know the class of each; votes by two who are right and one who guesses."""
    folder = tmp_path_factory.mktemp("votes")
    generator = np.random.default_rng(0)
    truth = np.arange(CLIPS) % 3
    files = [f"{number:02}.wav" for number in range(CLIPS)]
    rows, several = ["path,annotator,label"], ["path,annotator,labels"]
    for name, label in zip(files, truth, strict=True):
        soundfile.write(folder / name, np.zeros(800), 800)
        for person in generator.permutation(["ann", "bob", "cem"])[:2]:
            said = CLASSES[label if person != "cem" else generator.integers(3)]
            rows.append(f"{name},{person},{said}")
            several.append(f"{name},{person},{said}")
    (folder / "votes.csv").write_text("\n".join(rows))
    (folder / "several.csv").write_text("\n".join(several))
    write_embeddings(
        folder / "clips.parquet", files, {"embedding": generator.normal(size=(CLIPS, 8)) + 4 * np.eye(8)[truth]}
    )
    return folder


@pytest.fixture(scope="module")
def votes(folder: Path) -> Votes:
    return read_votes([folder / "votes.csv"])


@pytest.fixture(scope="module")
def several(folder: Path) -> Votes:
    return read_votes([folder / "several.csv"])


def table_of(folder: Path, method: str) -> Path | None:
    return folder / "clips.parquet" if method in WITH_FEATURES else None


def right(posterior: np.ndarray) -> float:
    return float((posterior.argmax(1) == np.arange(CLIPS) % 3).mean())


def test_names_of_crowd_methods_are_known_without_torch():
    assert tuple(CROWD_MAPS) == CROWD


@pytest.mark.parametrize("method", ONE_LABEL)
def test_every_method_combines_votes_of_one_class_a_clip(folder, votes, method):
    if method == "likelihoods":
        with pytest.raises(Misuse, match="the votes have no column points"):
            combine_votes(votes, CombineSettings(method))
        return
    found = combine_votes(votes, CombineSettings(method, table_of(folder, method)))
    np.testing.assert_allclose(found.posterior.sum(1), 1, atol=1e-6)
    assert right(found.posterior) > 0.75
    assert found.method == method


@pytest.mark.parametrize("method", SEVERAL_LABELS)
def test_every_method_combines_votes_of_several_classes_a_clip(folder, several, method):
    found = combine_votes(several, CombineSettings(method, table_of(folder, method)))
    assert found.posterior.shape == (CLIPS, 3)
    assert right(found.posterior) > 0.75


def test_the_probe_is_nearest_to_the_truth_and_taken_where_there_are_embeddings(folder, votes):
    counted = combine_votes(votes, CombineSettings())
    helped = combine_votes(votes, CombineSettings(embeddings=folder / "clips.parquet"))
    assert (counted.method, helped.method) == ("majority", "probe")
    assert right(helped.posterior) == 1.0 > right(counted.posterior)
    assert counted.tied.any()
    assert not helped.tied.any()


def test_points_are_taken_where_people_have_spread_some(folder):
    (folder / "points.csv").write_text(
        "path,annotator,label,points\n00.wav,ann,tit,1\n00.wav,ann,wren,3\n01.wav,ann,tit,1\n"
    )
    found = combine_votes(read_votes([folder / "points.csv"]), CombineSettings())
    assert found.method == "likelihoods"
    np.testing.assert_allclose(found.posterior, [[0.25, 0.75], [1, 0]])


def test_what_is_written_is_what_a_probe_is_fitted_on(folder, votes, tmp_path):
    out = folder / "labels.csv"
    done = write_combined(votes, CombineSettings(embeddings=folder / "clips.parquet"), TableSettings(out))
    written = pd.read_csv(out)
    assert [*written.columns] == ["path", "label", "annotator", "share", "audit"]
    assert written["path"].tolist() == [f"{number:02}.wav" for number in range(CLIPS)]  # beside the table
    assert written["label"].tolist() == [CLASSES[number % 3] for number in range(CLIPS)]
    assert {";".join(sorted(people.split(";"))) for people in written["annotator"]} <= {"ann;bob", "ann;cem", "bob;cem"}
    assert written["share"].between(0.5, 1).all()
    assert (done.clips, done.left_out) == (CLIPS, {})
    assert read_task(out).classes == CLASSES
    elsewhere = tmp_path / "labels.csv"
    write_combined(votes, CombineSettings("majority"), TableSettings(elsewhere))
    assert read_task(elsewhere).classes == CLASSES
    assert pd.read_csv(elsewhere)["path"].map(lambda name: Path(name).is_absolute()).all()


def test_ties_and_unsure_clips_are_left_out_and_come_first_among_second_opinions(votes, tmp_path):
    table = TableSettings(tmp_path / "a.csv", targets=tmp_path / "t.csv", opinions=tmp_path / "o.csv")
    done = write_combined(votes, CombineSettings("majority"), table)
    tied = int(combine_votes(votes, CombineSettings("majority")).tied.sum())
    assert done.left_out == {"the votes are tied": tied}
    assert done.clips == CLIPS - tied == len(pd.read_csv(table.out))
    opinions = pd.read_csv(table.opinions)
    assert (opinions["share"][:tied] == 0.5).all()
    assert (opinions["share"][tied:] == 1.0).all()
    assert set(opinions["ask"]) == {"ann", "bob", "cem"}  # the one of three who has not heard it
    targets = pd.read_csv(table.targets)
    assert [*targets.columns] == ["path", *CLASSES]
    assert len(targets) == CLIPS


def test_clips_whose_share_is_too_small_are_left_out(folder, tmp_path):
    rows = [f"00.wav,{person},{said}" for person, said in zip("abcd", ("tit", "tit", "tit", "wren"), strict=True)]
    rows += [f"01.wav,{person},{said}" for person, said in zip("abc", ("wren", "wren", "tit"), strict=True)]
    (folder / "shares.csv").write_text("\n".join(["path,annotator,label", *rows]))
    votes = read_votes([folder / "shares.csv"])
    done = write_combined(votes, CombineSettings(), TableSettings(tmp_path / "a.csv", min_share=0.7))
    assert (done.clips, done.left_out) == (1, {"their share is below 0.7": 1})
    assert pd.read_csv(tmp_path / "a.csv")[["label", "share"]].to_numpy().tolist() == [["tit", 0.75]]
    assert write_combined(votes, CombineSettings(), TableSettings(tmp_path / "b.csv", min_share=0.66)).clips == 2


def test_what_was_not_asked_never_becomes_absent(folder, tmp_path):
    rows = ["path,annotator,label,state", "00.wav,ann,tit,present", "00.wav,ann,wren,absent", "01.wav,ann,tit,absent"]
    rows += ["02.wav,ann,tit,unsure", "02.wav,ann,wren,present", "03.wav,ann,tit,present", "03.wav,ann,wren,present"]
    (folder / "states.csv").write_text("\n".join(rows))
    done = write_combined(read_votes([folder / "states.csv"]), CombineSettings(), TableSettings(tmp_path / "a.csv"))
    assert done.left_out == {"nobody said whether wren sounds": 1, "nobody said whether tit sounds": 1}
    written = pd.read_csv(tmp_path / "a.csv")
    assert written["labels"].tolist() == ["tit", "tit;wren"]
    without = read_votes([folder / "states.csv"], VoteSettings(without=["wren"]))
    done = write_combined(without, CombineSettings(), TableSettings(tmp_path / "b.csv"))
    assert (done.clips, done.left_out) == (3, {"nobody could judge them": 1})


def test_what_cannot_be_combined_or_written_is_one_line(folder, votes, several, tmp_path):
    table = TableSettings(tmp_path / "a.csv")
    for method, kind in (("presence", votes), ("dawid_skene", several), ("best", votes)):
        with pytest.raises(Misuse, match=f"no method '{method}' for clips of .*; choose from majority"):
            write_combined(kind, CombineSettings(method), table)
    with pytest.raises(Misuse, match="probe looks at the clips; give their table with --embeddings"):
        write_combined(votes, CombineSettings("probe"), table)
    with pytest.raises(
        Misuse, match="one_coin looks at no embeddings; leave --embeddings out, or take one of probe, crowd"
    ):
        write_combined(votes, CombineSettings("one_coin", folder / "clips.parquet"), table)
    with pytest.raises(Misuse, match=r"labels\.parquet must end in \.csv"):
        TableSettings(tmp_path / "labels.parquet")
    with pytest.raises(Misuse, match="--min-share is 70, expected 0 to 1"):
        TableSettings(tmp_path / "b.csv", min_share=70)
    (tmp_path / "a.csv").touch()
    with pytest.raises(OscineError, match="exists already; choose another name"):
        TableSettings(tmp_path / "a.csv")
    with pytest.raises(OscineError, match=r"no clip is left for .*\(60: their share is below 1\)"):
        write_combined(several, CombineSettings("presence"), TableSettings(tmp_path / "c.csv", min_share=1.0))
    with pytest.raises(OscineError, match=r"no folder .*nowhere to write a\.csv to"):
        write_combined(votes, CombineSettings(), TableSettings(tmp_path / "nowhere" / "a.csv"))
    write_embeddings(folder / "few.parquet", ["00.wav"], {"embedding": np.ones((1, 3))})
    with pytest.raises(OscineError, match=r"few\.parquet has no embedding of 59 of 60 rows"):
        write_combined(votes, CombineSettings(embeddings=folder / "few.parquet"), table)


def test_a_probe_needs_clips_of_two_recordings(folder):
    (folder / "one.csv").write_text("path,annotator,label\n00.wav,ann,tit\n00.wav,bob,wren\n")
    with pytest.raises(OscineError, match="all clips are of one recording, so that no probe can answer for others"):
        combine_votes(read_votes([folder / "one.csv"]), CombineSettings(embeddings=folder / "clips.parquet"))
