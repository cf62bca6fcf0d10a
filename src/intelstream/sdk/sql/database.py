"""What every database does for a stage that writes events."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from intelstream.ontology import Event
from intelstream.sdk.context import StageContext
from intelstream.sdk.sql.params import SqlParams
from intelstream.sdk.sql.table import Table


class Database(ABC):
    """A connection that is made when it is needed, and made anew after it broke. One caller at a time."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, and see to it that the table is there.

        Raises:
            Unavailable: what is wrong, and what can be done about it.
        """

    @abstractmethod
    async def insert(self, events: Sequence[Event]) -> None:
        """Write events in one transaction. One that the table has by its id already is left as it is there.

        Raises:
            Rejected: the database refuses one of them, and nothing was written.
            PartialWrite: these cannot be stored, the others were written.
            Unavailable: nothing was written, for a reason that is not in the events.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connection."""


def database(params: SqlParams, table: Table, ctx: StageContext) -> Database:
    """Return the database that the parameters name, not opened yet.

    Raises:
        ImportError: the library for it is not installed; `check` tells which extra has it.
    """
    if params.path:
        from intelstream.sdk.sql.sqlite import Sqlite  # noqa: PLC0415 - see below

        return Sqlite(params.path, table, wait=params.timeout, in_thread=ctx.in_thread)
    from intelstream.sdk.sql.postgres import Postgres  # noqa: PLC0415 - needs the extra `postgres`

    return Postgres(params, table, ctx.address)
