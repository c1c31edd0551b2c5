"""Weights carry their licence along: one that asks for less needs a word."""

from __future__ import annotations

import pytest

from oscine.models.checkpoints import PUBLISHED
from oscine.models.encoders.base.provenance import NOT_KNOWN, NOT_STATED, Origin
from oscine.models.errors import OscineError
from oscine.models.publish.terms import LICENCES, Licence, as_stated, choose_licence, parse_licence


def origin(licence: str, trained: bool = True) -> Origin:
    return Origin("hf-hub:wren/old", "model.safetensors", 64 * "a", licence, "wren/old", 40 * "b", trained)


@pytest.mark.parametrize(
    ("carried", "given"),
    [
        ("cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
        ("MIT", "mit"),
        ("mit", "apache-2.0"),
        ("cc0-1.0", "openrail"),
        ("cc-by-sa-4.0", "cc-by-sa-4.0"),
        ("garden-terms=https://garden.example", "garden-terms=https://garden.example"),
    ],
)
def test_weights_trained_further_go_on_under_what_asks_for_no_less(carried, given):
    assert choose_licence(given, origin(carried)) == parse_licence(given)
    assert choose_licence(None, origin(given)) == parse_licence(given), "it is carried along"


@pytest.mark.parametrize(
    ("carried", "given"),
    [
        ("cc-by-nc-4.0", "apache-2.0"),
        ("CC BY-NC 4.0 (README: CC BY 4.0)", "cc-by-4.0"),
        ("mit", "cc0-1.0"),
        ("cc-by-sa-4.0", "cc-by-nc-sa-4.0"),
        ("cc-by-nc-nd-4.0", "cc-by-nc-nd-4.0"),
        ("openrail", "cc-by-nc-4.0"),
        ("garden-terms=https://garden.example", "mit"),
        ("mit", "garden-terms=https://garden.example"),
        ("cc-by-nd-4.0", "cc-by-nd-4.0"),
        ("gpl-3.0", "mit"),
        ("mit", "other=https://garden.example"),
        (NOT_KNOWN, "cc-by-nc-nd-4.0"),
    ],
)
def test_what_asks_for_less_needs_a_word(carried, given):
    with pytest.raises(OscineError, match=r"but .*hf-hub:wren/old is under.*\(relicence\)") as caught:
        choose_licence(given, origin(carried))
    assert "\n" not in str(caught.value)
    assert choose_licence(given, origin(carried), relicence=True) == as_stated(given)


@pytest.mark.parametrize("stated", ["gpl-3.0", "cc-by-nd-4.0", "other", "Garden Terms=https://garden.example/a b"])
def test_what_a_source_states_may_be_kept_though_nobody_should_choose_it_anew(stated):
    for given in (None, stated):
        assert choose_licence(given, origin(stated, trained=False)) == as_stated(stated)
    with pytest.raises(OscineError, match="choose one for the weights"):
        choose_licence(stated)


def test_unlisted_licences_are_kept_by_what_is_trained_further_unless_they_forbid_it():
    assert choose_licence(None, origin("gpl-3.0")) == Licence("gpl-3.0")
    assert choose_licence(None, origin("terms=https://nd.example/nd")) == Licence("terms", "https://nd.example/nd")
    with pytest.raises(OscineError, match=r"is under cc-by-nd-4.0"):
        choose_licence(None, origin("cc-by-nd-4.0"))


def test_what_changes_nothing_may_not_be_trained_further_without_a_word():
    with pytest.raises(OscineError, match=r"is under cc-by-nc-nd-4.0"):
        choose_licence(None, origin("cc-by-nc-nd-4.0"))
    assert choose_licence(None, origin("cc-by-nc-nd-4.0", trained=False)) == Licence("cc-by-nc-nd-4.0")


def test_weights_that_were_only_converted_stay_under_their_licence():
    with pytest.raises(OscineError, match=r"licence 'cc-by-nc-4.0', but hf-hub:wren/old is under MIT"):
        choose_licence("cc-by-nc-4.0", origin("MIT", trained=False))
    assert choose_licence(None, origin("MIT", trained=False)) == Licence("mit")


def test_what_is_a_part_of_something_may_go_on_with_it_under_a_stricter_licence():
    untouched = origin("mit", trained=False)
    assert choose_licence("cc-by-nc-4.0", untouched, added=True) == Licence("cc-by-nc-4.0")
    assert choose_licence(None, origin("cc-by-nd-4.0", trained=False), added=True) == Licence("cc-by-nd-4.0")
    for carried, given in (("cc-by-nc-4.0", "mit"), ("cc-by-nd-4.0", "cc-by-nc-nd-4.0")):
        with pytest.raises(OscineError, match=f"is under {carried}"):
            choose_licence(given, origin(carried, trained=False), added=True)


def test_where_none_is_stated_one_must_be_given():
    for known in (None, origin(NOT_STATED), origin(NOT_KNOWN)):
        with pytest.raises(OscineError, match="licence not given; choose one"):
            choose_licence(None, known)
    with pytest.raises(OscineError, match=r"the authors of hf-hub:wren/old have stated none.*\(relicence\)"):
        choose_licence("mit", origin(NOT_STATED))
    assert choose_licence("mit", origin(NOT_STATED), relicence=True) == Licence("mit")


def test_any_licence_can_be_named_with_its_link():
    assert parse_licence("garden-terms=https://garden.example/terms") == Licence(
        "garden-terms", "https://garden.example/terms"
    )
    for text in ("garden-terms=somewhere", "Garden Terms=https://garden.example", "apache", ""):
        with pytest.raises(OscineError, match=r"choose one for the weights: apache-2.0, mit"):
            parse_licence(text)


def test_every_licence_of_the_list_can_be_chosen_and_the_hub_has_a_name_for_it():
    assert not [name for name in LICENCES if Licence(name).other]
    assert [choose_licence(name).name for name in LICENCES] == list(LICENCES)


def test_whatever_the_zoo_states_is_carried_along():
    for row in PUBLISHED:
        if row.licence != NOT_STATED:
            assert choose_licence(None, origin(row.licence)).name in LICENCES
