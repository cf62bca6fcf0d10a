"""Reads XML of strangers as it comes: no document types, no entities, no depth, and no more of it than one row."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, tostring

from defusedxml.ElementTree import DefusedXMLParser, iterparse

from intelstream.errors import InvalidValue
from intelstream.sdk.metered import Metered

DEEPEST: Final = 128  # levels of a document
UNREADABLE: Final = (ParseError, ValueError, LookupError)  # broken; with a DTD or an entity; in no known encoding

Get = Callable[[Element], str | None]


def elements(file: Metered, path: str, *, encoding: str | None = None) -> Iterator[Element]:
    """Yield the elements at a path such as `entries/entry`, from the top with `/` in front, each with all below it.

    Names are taken without their namespace. Without an encoding the document says which it is in.

    Raises:
        InvalidValue: it is no XML, has a document type, or one element is too large or too deep.
    """
    parser = DefusedXMLParser(target=TreeBuilder(), encoding=encoding, forbid_dtd=True)
    try:
        yield from _found(iterparse(file, ("start", "end"), parser), file, path)
    except UNREADABLE as error:
        raise InvalidValue("report", "", f"expected XML without a document type: {error}") from error


def text_of(element: Element) -> str:
    """Return an element as text, without what stands behind it."""
    element.tail = None
    return tostring(element, "unicode")


def getter(path: str) -> Get:
    """Return what takes a value from an element: `ip`, `source/ip`, `@id`, `source/@type`, `.`."""
    *steps, last = path.split("/")
    if not last.startswith("@") and last != ".":
        steps.append(last)

    def get(element: Element) -> str | None:
        for step in steps:
            found = next((child for child in element if _local(child) == step), None)
            if found is None:
                return None
            element = found
        return element.get(last[1:]) if last.startswith("@") else element.text

    return get


def _found(events: Iterable[tuple[str, Element]], file: Metered, path: str) -> Iterator[Element]:
    absolute, wanted = path.startswith("/"), path.strip("/").split("/")
    names: list[str] = []
    above: list[Element] = []
    inside = 0  # level of the element at hand
    for event, element in events:
        if event == "start":
            names.append(_local(element))
            above.append(element)
            if len(names) > DEEPEST:
                raise ValueError(f"it has more than {DEEPEST} levels")
            fits = names == wanted if absolute else names[-len(wanted) :] == wanted
            inside = inside or (len(names) if fits else 0)
        else:
            if inside == len(names):
                yield element
                inside = 0
            names.pop()
            above.pop()
            if not inside:
                element.clear()
                del (above or [element])[-1][:]  # or a document would pile up in memory
        if not inside:
            file.reset()


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
