"""What is published says what files are called, and never where they lay."""

from __future__ import annotations

import pytest

from oscine.models.files import strip_local_paths


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("/home/robin/garden", "garden"),
        ("/home/robin/garden/", "garden"),
        ("~/garden/labels.csv", "labels.csv"),
        ("../../shared/garden", "garden"),
        ("C:\\Users\\robin\\garden", "garden"),
        ("\\\\server\\garden\\labels.csv", "labels.csv"),
        ("local-dir:/home/robin/runs/bird", "local-dir:bird"),
        ("~robin/garden", "garden"),
        ("./../../home/robin/garden", "garden"),
        ("data/../../home/robin/garden", "garden"),
        ("file:///home/robin/garden", "garden"),
        ("/home/robin/two\nlines", "two\nlines"),
    ],
)
def test_a_path_that_leads_out_is_cut_to_its_name(value, named):
    assert strip_local_paths({"one": [value, {"two": value}], "three": 3}) == {
        "one": [named, {"two": named}],
        "three": 3,
    }


@pytest.mark.parametrize(
    "value",
    ["runs/bird", "garden", "local-dir:runs/bird", "hf-hub:robin/bird@v1", "bat_base.as2m", "", 0.5, None, True],
)
def test_everything_else_stays(value):
    assert strip_local_paths(value) == value
