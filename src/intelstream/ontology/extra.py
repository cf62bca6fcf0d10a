"""What has no field of its own: names below `extra.`, and fields as objects within objects."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

EXTRA: Final = "extra."
LONGEST_KEY: Final = 256  # characters


def is_extra(key: str) -> bool:
    """Tell whether a key is `extra.` and a name: printable, with something between any two dots.

    IntelMQ asks for small letters, digits and `_`, but takes anything from a whole object; here names of foreign data
    are kept as they are, whichever way they come.
    """
    return len(key) <= LONGEST_KEY and _is_extra(key)  # what is long is not remembered either


@lru_cache(maxsize=4096)
def _is_extra(key: str) -> bool:
    parts = key.split(".")
    return key.startswith(EXTRA) and key.isprintable() and all(part and part == part.strip() for part in parts)


def extra_key(name: object) -> str:
    """Make a key of a name that foreign data have; what would break it becomes `_`."""
    key = f"{EXTRA}{name}"
    if is_extra(key):
        return key
    visible = "".join(sign if sign.isprintable() else "_" for sign in key[len(EXTRA) : LONGEST_KEY])
    return EXTRA + ".".join(part.strip() or "_" for part in visible.split("."))


def extras(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of whatever is below `extra.`."""
    return ((key[len(EXTRA) :], value) for key, value in fields.items() if key.startswith(EXTRA))


def folded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with all that is below `extra.` as one JSON text, as a column of a database wants it."""
    kept = {key: value for key, value in fields.items() if not key.startswith(EXTRA)}
    if found := dict(extras(fields)):
        kept["extra"] = json.dumps(found, sort_keys=True, ensure_ascii=False)
    return kept


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return objects within objects instead of dotted names; what is below a field that has a value stays dotted.

    `source.ip` becomes `{"source": {"ip": …}}`, but `extra.a` and `extra.a.b` are `{"extra": {"a": …, "a.b": …}}`.
    """
    top: dict[str, Any] = {}
    for name, value in fields.items():
        here, start = top, 0
        while (dot := name.find(".", start)) > 0 and name[:dot] not in fields:
            here, start = here.setdefault(name[start:dot], {}), dot + 1
        here[name[start:]] = value
    return top
