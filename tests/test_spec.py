"""What the documents say holds, some test shows; here: that those tests exist."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def text_of(page: str) -> str:
    return (TOP / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "least"), {"spec.md": 15, "bad-input.md": 25, "guarantees.md": 5}.items())
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    named = NAMED.findall(text_of(page))
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (TOP / file).read_text()]

    assert len(named) > least
    assert missing == []


def test_every_must_names_a_test() -> None:
    items = re.split(r"\n- ", text_of("spec.md"))[1:]

    assert all("MUST" in item and NAMED.search(item) for item in items)


def test_every_bad_input_names_a_test() -> None:
    rows = [line for line in text_of("bad-input.md").splitlines() if line.startswith("| ") and "bad input" not in line]

    assert len(rows) > 20
    assert all(NAMED.search(row.split(" | ")[-1]) for row in rows)
