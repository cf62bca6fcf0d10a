"""Write events to a table of PostgreSQL or SQLite, each once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, StringConstraints, field_validator, model_validator

from intelstream import sdk
from intelstream.errors import Unavailable
from intelstream.ontology import STANDARD
from intelstream.sdk.edge import Selection
from intelstream.sdk.sql.database import Database, database
from intelstream.sdk.sql.params import SqlParams
from intelstream.sdk.sql.table import Table, columns_of

TableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$")]


class Params(SqlParams, Selection):
    table: TableName = Field("events", description="The table; in PostgreSQL it may be `SCHEMA.TABLE`.")
    create: bool = Field(True, description="Whether to make the table, and a file, where there is none.")
    batch: int = Field(1000, ge=1, le=4096, description="Most events of one write, which is one transaction.")
    _into: Table = PrivateAttr()

    @field_validator("fields")
    @classmethod
    def _columns(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if below := [name for name in fields if name.startswith("extra.")]:
            raise ValueError(f"{below[0]}: all that is below `extra.` is one column; name `extra`")
        return fields

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        columns = columns_of((context or {}).get("ontology", STANDARD), self.fields, raw=self.raw)
        self._into = Table(self.table, columns, chosen=bool(self.fields), create=self.create)

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if self.path and "." in self.table:
            raise ValueError("SQLite has no schemas: give the name of the table alone")
        return self

    @property
    def into(self) -> Table:
        """The table with the columns that are wanted of it."""
        return self._into


class Sql(sdk.Output[Params]):
    """Write events to a table of PostgreSQL or SQLite, each once.

    The table has a column for each field, under the field's own name, as EventDB has them: `"source.ip"`. All that is
    below `extra.` is JSON in the one column `extra`. The key is `event_id`: an event that the table has already is left
    as it is there. To go on with a table of EventDB, add the key to it,
    `ALTER TABLE events ADD COLUMN event_id uuid UNIQUE`. A field for which a table has no column makes the stage wait,
    and its status and the log tell the statement that adds it; name the `fields` to write no others.

    What the database refuses of an event, such as a text too long for its column, makes a dead letter of that event
    alone. PostgreSQL stores no NUL: in `extra` it is written as the text that JSON has for it, in any other field the
    event is refused.

    For PostgreSQL `pip install 'intelstream[postgres]'`. SQLite's file is in WAL mode: whoever reads it meanwhile
    must be able to write to its directory.
    """

    idempotent = True
    network = True
    database: Database

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.batch = params.batch

    @classmethod
    def requires_of(cls, params: sdk.Params) -> sdk.Extra | None:
        return sdk.Extra("postgres", "psycopg") if isinstance(params, Params) and params.url else None

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.database = database(self.params, self.params.into, self.ctx)
        try:
            await self.database.open()
        except Unavailable as error:  # nothing is lost: each write tries again
            self.ctx.log.warning("database_not_opened", error=str(error))
        try:
            yield
        finally:
            await self.database.close()

    async def write(self, batch: sdk.Batch) -> None:
        await self.database.insert(batch.events)
