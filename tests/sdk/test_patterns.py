import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream.sdk.patterns import Pattern, Patterns, TooSlow, contains

SIMPLE = st.from_regex(r"(\^)?([ab.]|\[ab\]|\(a\|b\)|\\w|\\d)([*+?]|\{1,2\})?([ab]|\\b)?(\$)?", fullmatch=True)
REFUSED = {
    "an open group": "(",
    "look-ahead": "(?=a)",
    "a back-reference": r"(a)\1",
    "a compiled form that fills the memory": "((a{999}){999}){999}",
    "too long": "a" * 1001,
}
EXPLODING = {
    "nested": "(a+)+$",
    "alternatives": "(a|aa)+$",
    "three in a row": ".*a.*a.*a.*b",
    "counted": "(a{1,30}){1,30}b",
}


@pytest.mark.parametrize("pattern", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_searched_in_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        contains(pattern)


@pytest.mark.parametrize("pattern", EXPLODING.values(), ids=EXPLODING)
def test_a_text_made_for_a_pattern_takes_no_longer_than_another(pattern: str) -> None:
    begun = time.process_time()

    assert contains(pattern)("a" * 100_000 + "!") is False
    assert time.process_time() - begun < 2  # another engine does not come back at all


def test_half_a_character_is_searched_like_any_other() -> None:
    assert contains("a.c")("a\udc80c") is True
    assert contains("^b")("a\udc80c") is False


@given(st.lists(SIMPLE, min_size=1, max_size=4), st.text(st.sampled_from("abä1_\n "), max_size=8), st.booleans())
def test_patterns_find_what_python_finds(patterns: list[str], text: str, ignore_case: bool) -> None:  # noqa: FBT001
    flags = re.IGNORECASE if ignore_case else 0
    wanted = {place for place, one in enumerate(patterns) if re.search(one, text, flags)}

    assert set(Patterns(patterns, ignore_case=ignore_case).found(text)) == wanted


def test_patterns_that_only_python_has_are_found_beside_the_others() -> None:
    assert set(Patterns(["(?!b)a", "b", r"(a)\1", "x" * 1001]).found("aab" + "x" * 1001)) == {0, 1, 2, 3}


def test_groups_are_those_of_the_pattern() -> None:
    pattern = Patterns(["x", r"(?P<host>\w+)\.(\w+)"])[1]
    found = pattern.search("www.example")

    assert found is not None
    assert (found["host"], found[2]) == ("www", "example")
    assert set(pattern.names) == {"0", "1", "2", "host"}


def test_what_a_search_finds() -> None:
    assert Pattern(r"\d+").find("a 12 b") == "12"
    assert Pattern(r"a (\d+)").find("a 12 b") == "12"
    assert Pattern(r"\d+").find("a") is None
    assert Pattern(r"A").find("a") is None
    assert Pattern(r"A", ignore_case=True).find("a") == "a"


SIZES: dict[str, tuple[str, bool]] = {
    "a time and an address": (r"\d{4}-\d\d-\d\dT(?:\d\d:){2}\d{2} (?:\d{1,3}\.){3}\d{1,3} (?:[^ ]{1,100} ){8}", True),
    "a brace that is none": (r"a\{99999\}[{99999}]{3}b{}", True),
    "repeated once": ("a{20001}", False),
    "nested": ("(?:(?:a{30}){30}){30}", False),
    "nested, in a group that is not repeated": ("(x(a{999}){999})", False),
    "up to": ("(a{0,200}){,200}", False),
}


@pytest.mark.parametrize(("pattern", "fits"), SIZES.values(), ids=SIZES)
def test_a_pattern_whose_compiled_form_would_be_large_is_refused(pattern: str, *, fits: bool) -> None:
    if fits:
        Pattern(pattern)
        return
    with pytest.raises(ValueError, match="repetitions written out"):
        Pattern(pattern)


WRONG = {
    "an open group": "(",
    "a group that is not open": ")",
    "too long": f"[{'a' * 20_000}]",
    "nothing repeated": "{3}*",
}


@pytest.mark.parametrize("pattern", WRONG.values(), ids=WRONG)
def test_what_is_no_pattern_of_python_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Pattern(pattern)


def test_a_pattern_that_only_python_has_is_stopped() -> None:
    with pytest.raises(TooSlow):
        Patterns(["(?!x)(a+)+$"]).found("a" * 5000 + "!")
    with pytest.raises(TooSlow, match=r"took more than 0\.1 seconds"):
        Pattern(r"(a|aa)+$|(x+x+)+y").match("a" * 40 + "!")


def test_thousands_of_patterns_are_found_together() -> None:
    patterns = Patterns([f".*w{place}.*x{place}[a-z]{{1,20}}.*$" for place in range(1_000)])

    assert set(patterns.found("w7 x7abc w500 x501abc w999 x999z")) == {7, 999}
