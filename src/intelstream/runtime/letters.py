"""Dead letters: what is kept of a message that a stage gave up, and how it goes back to work."""

import base64
import traceback
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import orjson

from intelstream.errors import InvalidValue, StageError
from intelstream.ontology import Event, Report
from intelstream.transport.commit import Cause
from intelstream.transport.shelf import about

LONGEST: Final = 8192  # characters of a text or traceback that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter.

    `message` is an event on our wire, or a report's header with the text of the row that failed as `raw` (base64);
    `row` is its number in the report, or with `whole` the first one of those that it stands for. `signature` is equal
    for errors of one cause.
    """

    stage: str
    message: dict[str, Any]
    error: str
    field: str | None
    text: str
    traceback: str
    attempts: int
    time: str
    report: str | None = None
    row: int | None = None
    whole: bool = False

    @property
    def signature(self) -> str:
        return blake2b(f"{self.stage}\0{self.error}\0{self.field}".encode(), digest_size=6).hexdigest()

    @property
    def cause(self) -> Cause:
        """Return what it is counted by."""
        shown = about({"time": self.time, "error": self.error, "field": self.field, "text": self.text})
        row = self.report if self.row is not None and not self.whole else None
        return Cause(signature=self.signature, time=self.time, first=shown, origin=row or "")

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"signature": self.signature}

    def dump(self) -> bytes:
        return orjson.dumps(self.to_dict())


def of_event(stage: str, event: Event, error: Exception, when: datetime) -> Letter:
    """Make the letter of an event."""
    return _letter(stage, orjson.loads(event.dump()), error, when, event.attempts + 1, event.parents[:1], None)


def of_row(stage: str, report: Report, row: int, text: str, error: Exception, when: datetime) -> Letter:
    """Make the letter of one row of a report, or of its rest where `text` is empty."""
    message = {
        **report.fields,
        "__type": "Report",
        "__id": report.id,
        "__tags": sorted(report.tags),
        "raw": base64.b64encode(text.encode(errors="surrogateescape")).decode(),
    }
    return _letter(stage, message, error, when, 1, (report.id,), row)


def of_report(stage: str, report: Report, row: int, error: Exception, when: datetime) -> Letter:
    """Make the letter of a whole report from row `row` on, with its bytes, or with the file that holds them."""
    letter = of_row(stage, report, row, "", error, when)
    if report.path:
        letter.message["spooled"] = str(report.path)
    else:
        letter.message["raw"] = base64.b64encode(report.raw).decode()
    return replace(letter, whole=True)


def of_frame(stage: str, frame: bytes, error: Exception, when: datetime) -> Letter:
    """Make the letter of a stream entry that cannot be read."""
    message = {"__type": "Frame", "raw": base64.b64encode(frame).decode()}
    return _letter(stage, message, error, when, 1, (), None)


def code(error: Exception) -> str:
    """Return the bounded name of an error's class, as counters and metrics use it."""
    return error.code if isinstance(error, StageError) else type(error).__name__


def _letter(  # noqa: PLR0917 - the facts of one letter, given by the three functions above
    stage: str,
    message: dict[str, Any],
    error: Exception,
    when: datetime,
    attempts: int,
    parents: tuple[str, ...],
    row: int | None,
) -> Letter:
    bug = not isinstance(error, StageError)
    return Letter(
        stage=stage,
        message=message,
        error=type(error).__name__,
        field=error.field if isinstance(error, InvalidValue) else None,
        text=str(error)[:LONGEST],
        traceback="".join(traceback.format_exception(error))[-LONGEST:] if bug else "",
        attempts=attempts,
        time=when.isoformat(),
        report=parents[0] if parents else None,
        row=row,
    )
