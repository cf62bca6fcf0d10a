"""All a stage author imports."""

from intelstream.sdk.context import Cache, Claims, Log, Resolver, StageContext
from intelstream.sdk.items import Begin, Changes, Collected, Commit, Lines, Row
from intelstream.sdk.stage import (
    Batch,
    Collector,
    Example,
    Expert,
    Extra,
    Output,
    Overwrite,
    Params,
    Parser,
    Stage,
    State,
    Way,
)
from intelstream.sdk.types import Duration, FieldList, FieldMap, FieldName, PathUnder, Secret, Size

__all__ = [
    "Batch",
    "Begin",
    "Cache",
    "Changes",
    "Claims",
    "Collected",
    "Collector",
    "Commit",
    "Duration",
    "Example",
    "Expert",
    "Extra",
    "FieldList",
    "FieldMap",
    "FieldName",
    "Lines",
    "Log",
    "Output",
    "Overwrite",
    "Params",
    "Parser",
    "PathUnder",
    "Resolver",
    "Row",
    "Secret",
    "Size",
    "Stage",
    "StageContext",
    "State",
    "Way",
]
