"""JSON Schemas of the pipeline file and of the host file, for editors: completion, descriptions, first faults."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from intelstream import catalog
from intelstream.config.entries import KINDS, LABELS, Entry, TemplateKeys, TopKeys
from intelstream.config.host import HostKeys
from intelstream.ontology.fields import TYPES
from intelstream.runtime.spec import Kind

Schema = dict[str, Any]
DIALECT: Final = GenerateJsonSchema.schema_dialect
FOLDERS: Final[Mapping[str, Kind]] = {
    "collectors": "collector",
    "parsers": "parser",
    "experts": "expert",
    "outputs": "output",
}
TOLD: Final = ("description", "default", "examples")
SECRET: Final[Schema] = {
    "type": "string",
    "pattern": r"\$\{(env|file):[^{}]+\}",
    "description": "A secret: `${env:NAME}` or `${file:/path}`.",
}
FOREIGN: Final[Schema] = {
    "type": "string",
    "pattern": rf"^(?!({'|'.join(FOLDERS)})\.)",
    "description": "A stage of a package that the host file allows.",
}
OWN_FEED: Final[Schema] = {
    "type": "string",
    "pattern": rf"^{catalog.FEED.pattern}$",
    "description": "A feed of your own, below one of `feeds`.",
}


def pipeline_schema() -> Schema:
    """Return the schema of a pipeline file: every engine key, and the parameters of each built-in stage and feed."""
    top = _model(TopKeys)
    definitions: Schema = top.pop("$defs", {})
    entry = _model(Entry)
    definitions |= entry.pop("$defs", {})
    template = _model(TemplateKeys)
    definitions |= template.pop("$defs", {})
    entry["properties"] |= {"use": _use(), "feed": _feed(), "labels": _labels(entry["properties"]["labels"])}
    entry["properties"]["set"] |= {"propertyNames": {"format": "field"}}
    entry["oneOf"] = [{"required": ["use"]}, {"required": ["feed"]}]
    entry["allOf"] = [*_by_kind(), *_by_stage(), *_by_feed()]
    definitions |= {name: _params(name) for name in catalog.names()}
    definitions |= {"entry": entry, "template": template | {"required": ["for_each", "stages"]}, "secret": SECRET}
    top["properties"]["stages"] |= {
        "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,63}$"},
        "additionalProperties": {"$ref": "#/$defs/entry"},
    }
    top["properties"]["templates"] |= {"additionalProperties": {"$ref": "#/$defs/template"}}
    top["properties"]["ontology"] |= {"additionalProperties": _type()}
    top["anyOf"] = [{"required": [name]} for name in ("stages", "templates", "include")]
    return {"$schema": DIALECT, "title": "intelstream pipeline"} | top | {"$defs": dict(sorted(definitions.items()))}


def host_schema() -> Schema:
    """Return the schema of a host file."""
    return {"$schema": DIALECT, "title": "intelstream host"} | _model(HostKeys)


def _model(model: type[BaseModel]) -> Schema:
    """Return the schema of a model as a value without titles, which say nothing that the names do not."""
    found: Schema = _untitled(model.model_json_schema(by_alias=True))
    return found


def _untitled(value: Any) -> Any:
    if isinstance(value, list):
        return [_untitled(one) for one in value]
    if isinstance(value, dict):
        return {k: _untitled(v) for k, v in value.items() if k != "title" or not isinstance(v, str)}
    return value


def _use() -> Schema:
    described = "The stage, such as `experts.taxonomy`."
    return {"description": described, "anyOf": [{"enum": list(catalog.names())}, FOREIGN]}


def _feed() -> Schema:
    described = "A feed of the catalogue: a collector and a parser, ready to run."
    return {"description": described, "anyOf": [{"enum": sorted(catalog.feed_names())}, OWN_FEED]}


def _labels(schema: Schema) -> Schema:
    return schema | {"additionalProperties": False, "properties": {name: {} for name in LABELS}}


def _type() -> Schema:
    one = {"enum": sorted(TYPES)}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 1}]}


def _params(use: str) -> Schema:
    """Return the schema of a stage's parameters, none of them required: a feed's entry gives only what differs."""
    schema = _model(catalog.load(use).Params)
    schema.pop("description", None)
    schema.pop("required", None)
    inner = schema.pop("$defs", {})
    schema["properties"] = {name: _or_secret(one) for name, one in schema.get("properties", {}).items()}
    whole: Schema = _inlined(schema, inner)
    return whole | {"additionalProperties": False}


def _inlined(value: Any, definitions: Schema) -> Any:
    """Put definitions where they are referred to: parameters are flat, so that none refers to itself."""
    if isinstance(value, list):
        return [_inlined(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    name = str(value.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions and name != "secret":
        rest = {key: one for key, one in value.items() if key != "$ref"}
        return _inlined(definitions[name] | rest, definitions)
    return {key: _inlined(one, definitions) for key, one in value.items()}


def _or_secret(schema: Schema) -> Schema:
    """Let a secret stand for a value that is more than any text."""
    kept = {key: value for key, value in schema.items() if key not in TOLD}
    if kept == {"type": "string"}:
        return schema
    told = {key: value for key, value in schema.items() if key in TOLD}
    return told | {"anyOf": [*kept.get("anyOf", [kept]), {"$ref": "#/$defs/secret"}]}


def _by_kind() -> Iterable[Schema]:
    """Yield which engine keys a kind of stage does not have."""
    for folder, kind in FOLDERS.items():
        refused = {key: False for key, kinds in KINDS.items() if kind not in kinds}
        yield {
            "if": {"properties": {"use": {"type": "string", "pattern": rf"^{folder}\."}}, "required": ["use"]},
            "then": {"properties": refused | {"parser": False, "sample": False}},
        }


def _by_stage() -> Iterable[Schema]:
    """Yield what `with` takes, for each stage."""
    for use in catalog.names():
        needed = [i.alias or name for name, i in catalog.load(use).Params.model_fields.items() if i.is_required()]
        wanted: Schema = {"properties": {"with": _given(use) | ({"required": needed} if needed else {})}}
        yield {
            "if": {"properties": {"use": {"const": use}}, "required": ["use"]},
            "then": wanted | ({"required": ["with"]} if needed else {}),
        }


def _by_feed() -> Iterable[Schema]:
    """Yield what `with` and `parser.with` take, for the feeds of each collector and each parser."""
    collectors: dict[str, list[str]] = {}
    parsers: dict[str, list[str]] = {}
    for name in sorted(catalog.feed_names()):
        feed = catalog.feed(name)
        collectors.setdefault(feed.collector.use, []).append(name)
        if feed.parser:
            parsers.setdefault(feed.parser.use, []).append(name)
    for use, names in sorted(collectors.items()):
        yield _if_feed(names, {"properties": {"with": _given(use)}})
    for use, names in sorted(parsers.items()):
        own = {"if": {"not": {"required": ["use"]}}, "then": {"properties": {"with": _given(use)}}}
        yield _if_feed(names, {"properties": {"parser": own}})


def _if_feed(names: list[str], then: Schema) -> Schema:
    return {"if": {"properties": {"feed": {"enum": names}}, "required": ["feed"]}, "then": then}


def _given(use: str) -> Schema:
    return {"$ref": f"#/$defs/{use}"} if use in catalog.names() else {}
