"""Two instances, each with a state of its own, that add to one file one after the other."""

from pathlib import Path

import pytest

from intelstream.errors import Unavailable
from writing import Place


@pytest.fixture
def other(place: Place, tmp_path: Path) -> Place:
    """Another instance that writes where `place` does."""
    (tmp_path / "elsewhere").mkdir()
    found = Place(tmp_path / "elsewhere")
    found.out = place.out
    return found


async def test_what_another_instance_has_added_is_never_cut_off(place: Place, other: Place) -> None:
    async with place.life() as writing:
        await writing.write("a")
    async with other.life() as writing:
        await writing.write("b")
    with pytest.raises(Unavailable, match=f"its last 16 bytes are of another instance, with its state in {other.own};"):
        async with place.life():
            pytest.fail("it took the file")
    async with other.life() as writing:
        await writing.write("c")

    assert place.comments() == ["a", "b", "c"]


async def test_a_file_passes_from_one_instance_to_another_that_goes_on_with_it(place: Place, other: Place) -> None:
    async with other.life() as writing:
        await writing.write("a")
    async with place.life() as writing:
        await writing.write("b")
        await writing.write("c", committed=False)
    async with place.life() as writing:
        await writing.write("c")

    assert place.comments() == ["a", "b", "c"]
