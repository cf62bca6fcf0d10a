"""What `docs/spec.md` says MUST hold, some test shows; here: that those tests exist."""

import re
from pathlib import Path

TOP = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_spec_names_exists() -> None:
    named = NAMED.findall((TOP / "docs/spec.md").read_text())
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (TOP / file).read_text()]

    assert len(named) > 15
    assert missing == []


def test_every_must_names_a_test() -> None:
    items = re.split(r"\n- ", (TOP / "docs/spec.md").read_text())[1:]

    assert all("MUST" in item and NAMED.search(item) for item in items)
