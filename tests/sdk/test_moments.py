from datetime import UTC, datetime

import pytest

from intelstream.sdk.moments import at_moment, check_moments

NOW = datetime(2024, 3, 1, 23, 30, tzinfo=UTC)
TEXTS = {
    "no time": ("https://host.example/list?a=%20", "https://host.example/list?a=%20"),
    "now": ("/{now:%Y/%m/%d}.csv", "/2024/03/01.csv"),
    "before now": ("/{now-1d:%Y%m%d}", "/20240229"),
    "after now": ("/{now+30m:%d-%H}", "/02-00"),
    "several": ("/{now:%Y}/{now-2h:%H}", "/2024/21"),
}


@pytest.mark.parametrize(("text", "filled"), TEXTS.values(), ids=TEXTS)
def test_times_are_filled_in(text: str, filled: str) -> None:
    check_moments(text)

    assert at_moment(text, NOW) == filled


@pytest.mark.parametrize("text", ["{", "{now}", "{now:x}", "{then:%Y}", "{now-1y:%Y}", "{now:%Y}}"])
def test_anything_else_between_braces_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected times"):
        check_moments(text)
