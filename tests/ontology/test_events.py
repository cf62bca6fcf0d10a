"""Events and reports in the hands of a stage: writing, comparing, deriving, showing."""

from pathlib import Path
from typing import Any

import pytest

from intelstream import testing
from intelstream.errors import InvalidValue
from intelstream.ontology import Event, Report, ids

REPORT = "018e0a5c-8000-7000-8000-000000000000"
FEED = {"feed.name": "Scanners", "feed.url": "https://example.com/", "time.observation": "2024-03-06T00:00:00+00:00"}
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "another time of observation": ({"time.observation": "2024-03-07T00:00:00+00:00"}, {}),
    "another row": ({"raw": "cm93"}, {}),
    "only some fields": ({"comment": "other"}, {"only": ("source.ip", "raw", "time.observation")}),
    "all but a field": ({"comment": "other"}, {"ignore": ("comment",)}),
    "all but extra": ({"extra.a": "other"}, {"ignore": ("extra",)}),
}
DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another field": ({"comment": "other"}, {}),
    "one that is asked for": ({"source.ip": "192.0.2.2"}, {"only": ("source.ip",)}),
    "one of those below extra": ({"extra.b": 1}, {"only": ("extra",)}),
    "text for a number": ({"extra.b": "1"}, {"only": ("extra.b",)}),
}
BASE = {"source.ip": "192.0.2.1", "comment": "a", "extra.a": 1}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a report": ({"__type": "Report"}, "__type"),
    "an id that is none": ({"__id": "1"}, "__id"),
    "parents that are none": ({"__parents": ["x"]}, "__parents"),
    "tags that are no list": ({"__tags": "abuse-event"}, "__tags"),
    "too many tags": ({"__tags": ["a"] * 1000}, "__tags"),
    "a row that is no base64": ({"raw": "{"}, "raw"),
    "a field that there is not": ({"source.prot": 1}, "source.prot"),
}


def both(change: dict[str, Any], asked: dict[str, Any]) -> tuple[str, str]:
    return testing.event(BASE).digest(**asked), testing.event(BASE | change).digest(**asked)


@pytest.mark.parametrize(("change", "asked"), SAME.values(), ids=SAME)
def test_digests_agree_in_spite_of(change: dict[str, Any], asked: dict[str, Any]) -> None:
    one, other = both(change, asked)

    assert one == other


@pytest.mark.parametrize(("change", "asked"), DIFFERENT.values(), ids=DIFFERENT)
def test_digests_differ_by(change: dict[str, Any], asked: dict[str, Any]) -> None:
    one, other = both(change, asked)

    assert one != other


def test_the_order_of_writing_and_of_asking_does_not_count() -> None:
    turned = testing.event(dict(reversed(BASE.items())))

    assert turned.digest() == testing.event(BASE).digest()
    assert turned.digest(only=("comment", "source.ip")) == turned.digest(only=("source.ip", "comment"))


def test_extra_is_replaced_as_a_whole_and_completed_by_add() -> None:
    event = testing.event({"extra": '{"a": {"b": 1}, "c": 2}'})
    stored = event.add("extra", {"c": 3, "d": 4})

    assert stored
    assert event["extra"] == {"a": {"b": 1}, "c": 2, "d": 4}
    assert not event.add("extra", {"c": 5})

    event["extra"] = {"e": 6}

    assert event.to_dict() == {"extra.e": 6}

    del event["extra"]

    assert "extra" not in event


def test_the_text_of_the_row_goes_by_the_name_raw() -> None:
    event = testing.event({"status": "online"})
    event["raw"] = " a;b "

    assert (event.raw, event["raw"], event.get("raw"), "raw" in event) == (" a;b ", " a;b ", " a;b ", True)
    assert [*event] == ["status"]

    del event["raw"]

    assert (event.raw, event.get("raw", "none"), "raw" in event) == (None, "none", False)
    with pytest.raises(KeyError):
        event["raw"]
    with pytest.raises(KeyError):
        event["comment"]


def test_an_event_shows_its_fields_and_leaves_by_a_path() -> None:
    event = testing.event({"status": "online"})

    assert repr(event) == "Event({'status': 'online'})"
    assert (event.get("status"), event.get("comment"), event.get("comment", "none")) == ("online", None, "none")
    assert event.via("other") == ("other", event)


def test_a_field_that_is_removed_is_gone_and_may_be_gone_before() -> None:
    event = testing.event({"status": "online"})
    for _ in range(2):
        del event["status"]

        assert "status" not in event


def test_edges_show_an_event_as_they_want_it() -> None:
    event = testing.event({"source.ip": "192.0.2.1", "extra.a": [1], "extra.a.b": 2, "raw": "cm93"})

    assert event.to_dict(raw=True, with_type=True, hierarchical=True) == {
        "source": {"ip": "192.0.2.1"},
        "extra": {"a": [1], "a.b": 2},
        "raw": "cm93",
        "__type": "Event",
    }
    assert event.to_dict(extra_as_text=True) == {"source.ip": "192.0.2.1", "extra": '{"a": [1], "a.b": 2}'}
    assert testing.event({"status": "online"}).to_dict(extra_as_text=True) == {"status": "online"}


@pytest.mark.parametrize(("given", "field"), BAD.values(), ids=BAD)
def test_what_another_system_gives_is_checked(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Event.from_dict(given)

    assert refused.value.field == field


def test_what_another_system_leaves_out_is_not_needed() -> None:
    event = Event.from_dict({"source.ip": "192.0.2.1", "comment": "", "raw": "cm93", "__queued": 1}, id=REPORT)

    assert (event.id, event.parents, event.tags, event.raw) == (REPORT, (), frozenset(), "row")
    assert event.to_dict() == {"source.ip": "192.0.2.1"}


def test_a_derived_event_is_its_own() -> None:
    event = testing.event({"source.ip": "192.0.2.1"}, id=REPORT, tags=["abuse-event"])
    children = [event.derive(index) for index in range(2)]
    children[0]["source.ip"] = "192.0.2.2"

    assert event["source.ip"] == "192.0.2.1"
    assert len({event.id, *(child.id for child in children)}) == 3
    assert all(child.parents == (REPORT,) and child.tags == event.tags for child in children)


def test_a_mark_lets_a_redelivery_pass_and_a_twin_not() -> None:
    def arrived(arrival: str, *, again: bool = False) -> Event:
        event = testing.event({}, id=REPORT)
        [event.arrival], event.again = ids.arrivals(arrival, 1), again
        return event

    owner = arrived("1-0/0").owner

    assert len(owner) == 32
    assert arrived("1-0/0").owns(owner)
    assert not arrived("2-0/0").owns(owner)
    assert arrived("2-0/0", again=True).owns(owner)


def test_events_of_a_report_begin_with_what_is_known_of_it() -> None:
    report = Report(b"a\nb\n", tags=["tweet"]).stamp(
        id=REPORT, fields=FEED | {"extra.file": "x"}, tags=frozenset({"a"})
    )
    report.prepare({"classification.type": "scanner"}, frozenset({"b"}))
    made = []
    for row in (0, 0, 1):
        report.seek(row)
        made.append([report.event(), report.event()])

    assert made[0][0].to_dict() == FEED | {"classification.type": "scanner"}
    assert made[0][0].parents == (REPORT,)
    assert made[0][0].tags == {"a", "b"}
    assert [event.id for event in made[0]] == [event.id for event in made[1]]
    assert len({event.id for pair in made for event in pair}) == 4
    assert all(ids.is_id(event.id) and event.id[:13] == REPORT[:13] for pair in made for event in pair)


def test_a_row_may_have_any_number_of_events() -> None:
    places = ids.Places(REPORT)
    made = {places.of(row, index) for row in (0, 1, 2) for index in (0, 1, 65_535, 65_536, 65_537)}

    assert len(made) == 15
    assert all(map(ids.is_id, made))
    assert places.of(7, 3) == ids.Places(REPORT).of(7, 3) != ids.Places(REPORT[:-1] + "1").of(7, 3)


def test_a_report_in_a_file_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_bytes(b"a\nb\n")
    report = Report(file)

    assert (report.size, report.raw, report.path) == (4, b"a\nb\n", file)
    with report.open() as opened:
        assert opened.read() == b"a\nb\n"


def test_a_report_that_gets_another_id_makes_other_events() -> None:
    report = Report(b"").stamp(id=REPORT)
    first = report.event()
    report.id = REPORT[:-1] + "1"
    report.seek(0)
    second = report.event()

    assert (first.parents, second.parents) == ((REPORT,), (report.id,))
    assert first.id != second.id


def test_a_report_keeps_its_bytes_at_the_edge() -> None:
    report = Report.from_dict({"raw": "AAH/", "feed.name": "Scanners", "__type": "Report"}, id=REPORT)

    assert (report.raw, report.size, report.open().read()) == (b"\x00\x01\xff", 3, b"\x00\x01\xff")
    assert report.to_dict(raw=True, with_type=True) == {"raw": "AAH/", "feed.name": "Scanners", "__type": "Report"}
    for wrong in ({"__type": "Event"}, {"raw": "{"}, {"feed.url": "no url"}):
        with pytest.raises(InvalidValue):
            Report.from_dict(wrong)
