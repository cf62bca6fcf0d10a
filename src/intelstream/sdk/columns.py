"""What one of `columns` says: where a cell goes, and how its value is read."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event, Ontology
from intelstream.ontology.fields import worded
from intelstream.sdk.convert import converter, time_reader
from intelstream.sdk.patterns import Expression
from intelstream.sdk.stage import Params
from intelstream.sdk.types import FieldName, PartError, ontology_of

IGNORED: Final = "~"


def _as(value: object) -> object:
    converter(value)
    return value


class Column(Params):
    """Where a cell goes. `lenient`: a value that no field takes is left out, instead of failing the row."""

    to: tuple[FieldName, ...] = Field(min_length=1, description="The field; of several, the first that accepts.")
    lenient: bool = Field(False, description="Whether a value that no field accepts is left out.")
    convert: Annotated[Any, AfterValidator(_as)] = Field(None, alias="as", description="Converters, in turn.")
    match: Expression | None = Field(None, description="Take what this finds, or its group; nothing: an empty cell.")
    split: str | None = Field(None, min_length=1, description="What stands between the values of one cell.")
    required: bool = Field(False, description="Whether a row without a value is an error.")
    default: Any = Field(None, description="The value of an empty cell.")

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, value: object) -> object:
        """Read `to: field`, `to: [field, field]`, and `~` at the end of a list: better nothing than an error."""
        if not isinstance(value, Mapping):
            raise ValueError("expected a field, `~`, a list of fields or a mapping")  # noqa: TRY004 - pydantic's
        if value.get("as", "") is None:
            raise ValueError("as: expected a converter")
        to = value.get("to")
        fields = list(to) if isinstance(to, list | tuple) else [to]
        if len(fields) > 1 and fields[-1] in (None, IGNORED):
            return {**value, "to": fields[:-1], "lenient": True}
        return {**value, "to": fields}

    _makes_events: bool = PrivateAttr(False)

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        ontology: Ontology = (context or {}).get("ontology", STANDARD)
        in_one = all(field.startswith("extra.") or ontology.is_list(field) for field in self.to)
        self._makes_events = self.split is not None and not in_one

    @property
    def makes_events(self) -> bool:
        """Whether each value of a cell makes an event; a field that holds a list takes them all."""
        return self._makes_events

    @model_validator(mode="after")
    def _default_fits(self, info: ValidationInfo) -> "Column":
        if self.default is not None:
            try:
                Event({}, ontology_of(info), id="")[self.to[0]] = self.default
            except InvalidValue as error:
                raise ValueError(f"default: {error.reason}") from error
        return self


def _column(value: object, info: ValidationInfo) -> Column | None:
    if value is None or value == IGNORED or isinstance(value, Column):
        return value if isinstance(value, Column) else None
    given = value if isinstance(value, Mapping) else {"to": value}
    try:
        return Column.model_validate(given, context=info.context)
    except ValidationError as error:
        parts: dict[tuple[str | int, ...], str] = {}
        for place, text in _reasons(error, within=given is value):
            parts.setdefault(place, text)  # what comes after is of what the first one left
        raise PartError(parts) from error


def _reasons(error: ValidationError, *, within: bool) -> Iterable[tuple[tuple[str | int, ...], str]]:
    for fault in error.errors(include_url=False):
        name = fault["loc"][0] if fault["loc"] else ""
        text = "unknown name" if fault["type"] == "extra_forbidden" else worded(fault["msg"])
        yield ((name,) if within and name else ()), text


def _shown(column: Column | None) -> Any:
    return column and column.model_dump(by_alias=True, exclude_defaults=True)


_fields: Final = {"type": "string", "format": "field"}
_schema: Final = {
    "anyOf": [
        {"type": "null"},
        _fields,
        {"type": "array", "items": {"anyOf": [_fields, {"type": "null"}]}, "minItems": 1},
        {
            "type": "object",
            "required": ["to"],
            "additionalProperties": False,
            "properties": {
                "to": {"anyOf": [_fields, {"type": "array", "items": {"anyOf": [_fields, {"type": "null"}]}}]},
                "as": {"type": ["string", "array", "object"]},
                "match": {"type": "string", "format": "regex"},
                "split": {"type": "string", "minLength": 1},
                "required": {"type": "boolean"},
                "default": {},
                "lenient": {"type": "boolean"},
            },
        },
    ]
}
AnyColumn = Annotated[
    Column | None, PlainValidator(_column), PlainSerializer(_shown), WithJsonSchema(_schema), "column"
]
C = TypeVar("C", tuple[Column | None, ...], dict[str, Column | None])


def _useful(columns: C) -> C:
    listed = [column for column in (columns.values() if isinstance(columns, dict) else columns) if column]
    if not listed:
        raise ValueError("expected a column that goes somewhere")
    if sum(column.makes_events for column in listed) > 1:
        raise ValueError("expected one column at most that is split into events")
    return columns


def _kind(value: object) -> str | None:
    return "list" if isinstance(value, list | tuple) else "mapping" if isinstance(value, dict) else None


ColumnList = Annotated[tuple[AnyColumn, ...], AfterValidator(_useful)]
ColumnMap = Annotated[dict[str, AnyColumn], AfterValidator(_useful)]
ColumnsEither = Annotated[
    Annotated[ColumnList, Tag("list")] | Annotated[ColumnMap, Tag("mapping")],
    Discriminator(_kind, custom_error_type="columns", custom_error_message="expected a list or a mapping of columns"),
    "list of column or mapping of column",
]


def _form_of_time(text: str) -> str:
    time_reader(text)
    return text


TimeForm = Annotated[str, AfterValidator(_form_of_time), "form of time"]


def _types(types: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
    checked = Event({}, ontology_of(info), id="")
    for raw, value in types.items():
        try:
            checked["classification.type"] = value
        except InvalidValue as error:
            raise ValueError(f"{raw}: {error.reason}") from error
    return types


TypeMap = Annotated[dict[str, str], AfterValidator(_types)]
