import io

import pytest

from intelstream.errors import InvalidValue
from intelstream.sdk.metered import Metered
from intelstream.sdk.xmlstream import elements, getter, text_of

DOCUMENT = b"""<list xmlns="urn:a"><head><ip>no</ip></head>
<entry id="1"><ip>192.0.2.1</ip><at><ip kind="b">192.0.2.2</ip></at></entry> between
<entry id="2"><ip/></entry><more><entry id="3"/></more></list>"""


def found(document: bytes, path: str, longest: int = 1000) -> list[str]:
    return [text_of(element) for element in elements(Metered(io.BytesIO(document), longest), path)]


PATHS = {
    "a name": ("entry", ["1", "2", "3"]),
    "a path": ("more/entry", ["3"]),
    "a path from the top": ("/list/entry", ["1", "2"]),
    "no such path": ("/entry", []),
}


@pytest.mark.parametrize(("path", "ids"), PATHS.values(), ids=PATHS)
def test_elements_are_found_by_their_path_whatever_their_namespace(path: str, ids: list[str]) -> None:
    identity = getter("@id")

    assert [identity(element) for element in elements(Metered(io.BytesIO(DOCUMENT), 1000), path)] == ids


def test_values_are_taken_by_name_path_and_attribute() -> None:
    first = next(elements(Metered(io.BytesIO(DOCUMENT), 1000), "entry"))
    taken = [getter(path)(first) for path in ("ip", "at/ip", "at/ip/@kind", "@id", "at/none", "@none", ".")]

    assert taken == ["192.0.2.1", "192.0.2.2", "b", "1", None, None, None]


def test_the_text_of_an_element_ends_with_it() -> None:
    assert found(b"<l><e>1</e>tail</l>", "e") == ["<e>1</e>"]


HOSTILE = {
    "an entity": b'<!DOCTYPE l [<!ENTITY a "b">]><l><e>&a;</e></l>',
    "a document type elsewhere": b'<!DOCTYPE l SYSTEM "http://host.example/"><l/>',
    "depth": b"<e>" * 1000,
    "no end": b"<l><e>1</e>",
    "no XML": b"{}",
    "an encoding that nobody knows": b'<?xml version="1.0" encoding="none"?><l/>',
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_what_is_broken_or_made_to_do_harm_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidValue):
        found(document, "x")


def test_an_element_that_would_fill_the_memory_is_refused_and_many_small_ones_are_not() -> None:
    assert len(found(b"<l>" + b"<e>1</e>" * 200_000 + b"</l>", "e", longest=100_000)) == 200_000
    with pytest.raises(InvalidValue, match="max_row_bytes"):
        found(b"<l><e>" + b"<i/>" * 200_000 + b"</e></l>", "e", longest=100_000)
