"""What an HTTP answer means: a redirect, a refusal, how long to wait, and how to ask for what is newer."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from yarl import URL

from intelstream.errors import NotFound, Rejected, StageError, Unavailable
from intelstream.sdk.http_params import shown

METHOD_CHANGES: Final = frozenset({301, 302, 303})  # what comes after is a GET (RFC 9110, 15.4)
MOVED: Final = METHOD_CHANGES | {307, 308}
NO_ENTRY: Final = {401: "`username` and `password`, or `token`", 407: "`proxy`"}
VALIDATORS: Final = (("etag", "ETag", "If-None-Match"), ("modified", "Last-Modified", "If-Modified-Since"))
NOT_TAKEN: Final = frozenset({408, 425, 429, 503})  # the server says that it has not taken the request
BROKEN: Final = 500
LONGEST_WAIT: Final = 86_400.0  # seconds that a server may ask for with Retry-After


def refusal(status: int, text: str, wait: float | None, *, repeatable: bool) -> StageError:
    """Return the error that a status from 400 on stands for.

    Credentials that are not taken make the stage wait: no event can be meant by that, and somebody has to act.
    """
    if status in NO_ENTRY:
        return Unavailable(f"{text}; check {NO_ENTRY[status]}", retry_after=wait)
    if status in NOT_TAKEN or (status >= BROKEN and repeatable):
        return Unavailable(text, retry_after=wait)
    if status >= BROKEN:
        return StageError(f"{text}; it may have been taken")
    return NotFound(text) if status in (404, 410) else Rejected(text)


def redirected(doing: str, here: URL, location: str, status: int, method: str) -> URL:
    """Return where a redirect leads.

    Raises:
        Rejected: nowhere, or out of TLS.
        StageError: the method would have to change, and with it what is asked for.
    """
    try:
        there = here.join(URL(location))
        where = shown(str(there))
    except ValueError:
        there, where = URL(), "nowhere"
    if there.scheme not in ("http", "https") or not there.host:
        raise Rejected(f"{doing} to {where}: no URL that can be asked")
    if here.scheme == "https" != there.scheme:
        raise Rejected(f"{doing} to {where}: from https to plain http")
    if method not in ("GET", "HEAD") and status in METHOD_CHANGES:
        raise StageError(f"{doing} to {where}: {method} would become GET; give that address as `url`")
    return there


def retry_after(text: str, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, which gives them or a date (RFC 9110, 10.2.3)."""
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def validators(url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return what is to be kept of an answer, so that only something newer is asked for (RFC 9110, 8.8)."""
    return {"url": url} | {name: headers[header] for name, header, _ in VALIDATORS if header in headers}


def conditions(url: str, kept: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that ask for something newer than what was kept (RFC 9110, 13.1); none for another URL."""
    known = kept if kept.get("url") == url else {}
    return {ask: known[name] for name, _, ask in VALIDATORS if name in known}
