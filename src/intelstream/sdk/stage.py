"""What a stage author subclasses: one class per stage, one verb per kind."""

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from intelstream.ontology import Event, Key, Report
from intelstream.sdk.context import StageContext
from intelstream.sdk.items import Collected, Lines, Row

Fields = Mapping[str, object]
Way = Event | tuple[str, Event]
Load = Callable[[Sequence[str]], Awaitable[Sequence[Any]]]
HIDDEN: Final = "**********"  # as pydantic shows its own secrets


class Params(BaseModel):
    """Parameters of a stage: frozen, flat, every one described, unknown names refused.

    Those that hold a secret, named by `hidden` of the validation context, are shown in no repr and no dump.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    _hidden: frozenset[str] = PrivateAttr(frozenset())

    def model_post_init(self, context: Any) -> None:
        self._hidden = frozenset((context or {}).get("hidden", ()))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return ((name, HIDDEN if name in self._hidden else value) for name, value in super().__repr_args__())

    @model_serializer(mode="wrap")
    def _dumped(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: HIDDEN if name in self._hidden else value for name, value in dump(self).items()}


class Overwrite(Params):
    """For every stage that may replace a value."""

    overwrite: Literal["never", "always"] = Field("never", description="Whether to replace a value already there.")

    @property
    def replaces(self) -> bool:
        return self.overwrite == "always"


P = TypeVar("P", bound=Params)
ParamsOf = Params  # inside `Stage`, `Params` means the class attribute


class Example:
    """Documented behaviour: shown on the stage's page and run as a test.

    `then` lists what each event that leaves has on top of `given`, None for a field that is gone; no `then`
    means that the event is dropped. `files` are texts that parameters name, by their path.
    """

    def __init__(
        self,
        given: Fields,
        *then: Fields,
        params: Fields | None = None,
        via: str = "default",
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.given = given
        self.then = then
        self.params = params or {}
        self.via = via
        self.files = files or {}


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional library: `Extra("kafka", "aiokafka")`, imported in `lifespan()`."""

    name: str
    module: str


class State:
    """Durable keys of a stage as one commit sees them: nothing is written before the commit."""

    __slots__ = ("_load", "written")

    def __init__(self, load: Load) -> None:
        self._load = load
        self.written: dict[str, Any] = {}

    async def get(self, key: str) -> Any:
        """Return one value (JSON), None if there is none."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        """Return several values in one round trip."""
        missing = [key for key in keys if key not in self.written]
        found = dict(zip(missing, await self._load(missing), strict=True)) if missing else {}
        return [self.written[key] if key in self.written else found[key] for key in keys]

    def set(self, key: str, value: Any) -> None:
        """Write a value that JSON can hold with this commit; None removes the key."""
        self.written[key] = value


class Batch:
    """Events handed over together, and what belongs to their one commit."""

    __slots__ = ("dropped", "events", "rejected", "state")

    def __init__(self, events: Sequence[Event], state: State) -> None:
        self.events = events
        self.state = state
        self.dropped: list[tuple[Event, str]] = []
        self.rejected: list[tuple[Event, Exception]] = []

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def drop(self, event: Event, reason: str) -> None:
        """Let an event end here, counted under a reason."""
        self.dropped.append((event, reason))

    def reject(self, event: Event, error: Exception) -> None:
        """Give one event up, with its error; the others go on."""
        self.rejected.append((event, error))


class Stage(ABC, Generic[P]):
    """Common base. A stage holds its parameters and its context, nothing global."""

    Params: ClassVar[type[ParamsOf]]
    paths: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[frozenset[str]] = frozenset()  # paths that may stay unconnected without a warning
    reads: ClassVar[tuple[Key[Any], ...]] = ()
    writes: ClassVar[tuple[Key[Any], ...]] = ()
    examples: ClassVar[tuple[Example, ...]] = ()
    requires: ClassVar[Extra | None] = None
    network: ClassVar[bool] = False
    blocking: ClassVar[bool] = False
    state_version: ClassVar[int] = 1

    def __init__(self, params: P, ctx: StageContext) -> None:
        self.params = params
        self.ctx = ctx

    def __init_subclass__(cls) -> None:
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, ParamsOf):
                    cls.Params = argument

    @classmethod
    def paths_of(cls, params: ParamsOf) -> tuple[str, ...]:  # noqa: ARG003 - for stages whose paths are configured
        """Return the named ways out that the stage has with these parameters, besides `default`."""
        return cls.paths

    @classmethod
    def requires_of(cls, params: ParamsOf) -> Extra | None:  # noqa: ARG003 - for stages that have a choice of libraries
        """Return the optional library that these parameters ask for, besides what the class `requires`."""
        return None

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Acquire before `yield`, release after it. Override for files, sockets, optional libraries."""
        yield


class Collector(Stage[P]):
    """Brings raw reports in. `poll` is asked again and again, `stream` and `listen` run until they are stopped.

    `durable` says that `after_commit` waits until the commit is on the server's disk, for senders that delete then.
    """

    mode: ClassVar[Literal["poll", "stream", "listen"]] = "poll"
    durable: bool = False

    @classmethod
    def gives_of(cls, params: ParamsOf) -> Literal["reports", "events"]:  # noqa: ARG003 - for those that have a choice
        """Return what the stage brings with these parameters: reports for a parser, or events as they are."""
        return "reports"

    @abstractmethod
    def collect(self, cursor: Any) -> AsyncIterator[Collected]:
        """Yield what is new since `cursor`, the one committed last (None at first).

        Where cursors are given as `Changes`, it is what all of them have made.
        """


class Parser(Stage[P]):
    """Turns a report into events. Synchronous, so it does no I/O; the engine owns the loop."""

    @property
    def split(self) -> Lines | None:
        """Where a large report may be cut; None where nowhere."""
        return None

    @abstractmethod
    def rows(self, report: Report) -> Iterator[Row]:
        """Yield the records, cheaply: their count is the position. Raising ends the report there."""

    @abstractmethod
    def events(self, row: Row, report: Report) -> Event | Iterable[Event] | None:
        """Return what one row says, from `report.event()`. Raising costs this row alone."""


class Expert(Stage[P]):
    """Changes, enriches, splits, routes or drops events.

    `pure` ones only compute and run fused with their neighbours. `claiming` ones take marks besides; they lead such a
    run, for an event's owner is made of the entry that it came in. `stateful` ones run on one worker at a time.
    `timer` is the number of seconds between two calls of `on_timer`, None for never.
    """

    pure: ClassVar[bool] = False
    claiming: ClassVar[bool] = False
    stateful: ClassVar[bool] = False
    affinity: ClassVar[tuple[Key[Any], ...]] = ()
    timer: float | None = None

    @abstractmethod
    def process(self, batch: Batch) -> AsyncIterator[Way]:
        """Yield what leaves; what is not yielded is dropped. May run again with the same events."""

    async def on_timer(self, batch: Batch) -> AsyncIterator[Way]:  # noqa: ARG002 - an empty batch, for its state
        """Yield what time alone makes leave. Runs between two batches, never beside one."""
        return
        yield


class Output(Stage[P]):
    """Delivers events to the outside.

    `batch` is the number of events per write, 1 where a repeated one would do harm. `idempotent` says that the
    event id makes a repetition harmless. `exclusive` ones have one writer at a time, whatever the number of workers.
    """

    idempotent: ClassVar[bool] = False
    exclusive: ClassVar[bool] = False
    batch: int = 1

    async def resume(self, state: State) -> None:
        """Bring the outside back to what was committed. Runs before the first write and after a lost commit."""

    @abstractmethod
    async def write(self, batch: Batch) -> None:
        """Return once every event is durable.

        Raises:
            PartialWrite: these places were not written, the others were.
            Unavailable, Rejected: nothing was written.
        """
