"""Parse lines of JSON, one event per line."""

import orjson
from pydantic import Field

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.sdk.linetable import LineParams, LineTable
from intelstream.sdk.objects import ObjectParams, ObjectTable


class Params(LineParams, ObjectParams):
    comment: str = Field("", description="What a line to be left out begins with.")


class JsonLines(ObjectTable[Params], LineTable[Params]):
    """Parse lines of JSON, one event per line.

    Without `columns`, each line is an event as IntelMQ and our own file output write it.
    """

    def line_row(self, text: str) -> sdk.Row:
        try:
            return self.row(orjson.loads(text), text)
        except orjson.JSONDecodeError as error:
            return sdk.Row(text, InvalidValue("row", text[:80], f"expected JSON: {error}"))
