"""Texts that name the time at which they are used: `{now:%Y-%m-%d}`, `{now-1d:%d}`, `{now+1h:%H}`; in UTC."""

import re
from datetime import datetime, timedelta
from typing import Final

from intelstream.sdk.types import Duration

MOMENT: Final = re.compile(r"\{now(?:([+-])(\d+[smhdw]))?:(%[^{}]*)\}")


def check_moments(text: str) -> None:
    """Make sure that nothing but times stands between braces.

    Raises:
        ValueError: something else does.
    """
    if re.search(r"[{}]", MOMENT.sub("", text)):
        raise ValueError("expected times such as {now:%Y-%m-%d} or {now-1d:%Y-%m-%d} between braces")


def at_moment(text: str, now: datetime) -> str:
    """Return a text with its times filled in."""

    def filled(found: re.Match[str]) -> str:
        sign, distance, form = found.groups()
        seconds = float(Duration(distance)) if distance else 0.0
        return (now + timedelta(seconds=-seconds if sign == "-" else seconds)).strftime(form)

    return MOMENT.sub(filled, text)
