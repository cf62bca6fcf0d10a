"""How stages may be connected."""

from collections.abc import Callable

import pytest

Faults = Callable[..., list[str]]
INBOX = "inbox: {use: collectors.file, with: {path: x}, to: rows}"
ROWS = "rows: {use: parsers.csv, with: {columns: [source.ip]}, to: tax}"
TAX = "tax: {use: experts.taxonomy, to: files}"
FILES = "files: {use: outputs.file, with: {path: x}}"
WHOLE = {"inbox": INBOX, "rows": ROWS, "tax": TAX, "files": FILES}
REPORTS = "takes reports, which only collectors give"
EVENTS = "takes events; 'inbox' gives reports: put a parser between"
ROUTES = "warning: stages.tax.to.1: an event can reach 'files' by two routes: through 'files' and through 'more'"
CASES: dict[str, tuple[dict[str, str], list[str]]] = {
    "all is well": ({}, []),
    "a collector with an input": (
        {"tax": "tax: {use: experts.taxonomy, to: [files, inbox]}"},
        ["4:44: stages.tax.to.1: 'inbox' is a collector: nothing goes in"],
    ),
    "an output with a way out": (
        {"files": "files: {use: outputs.file, with: {path: x}, to: more}", "more": FILES.replace("files", "more")},
        ["5:47: stages.files.to: 'files' is an output: nothing leaves it, but by `error`"],
    ),
    "an output whose errors are kept": (
        {
            "files": "files: {use: outputs.file, with: {path: x}, to: {error: more}}",
            "more": FILES.replace("files", "more"),
        },
        [],
    ),
    "a parser behind an expert": (
        {
            "tax": "tax: {use: experts.taxonomy, to: [again, files]}",
            "again": ROWS.replace("rows", "again").replace("tax", "files"),
        },
        [f"4:37: stages.tax.to.0: 'again' is a parser and {REPORTS}; 'tax' gives events"],
    ),
    "an expert behind a collector": (
        {"inbox": INBOX.replace("rows", "[rows, tax]")},
        [f"2:61: stages.inbox.to.1: 'tax' is an expert and {EVENTS}"],
    ),
    "an output behind a collector": (
        {"inbox": INBOX.replace("rows", "files"), "rows": "", "tax": ""},
        [f"2:50: stages.inbox.to: 'files' is an output and {EVENTS}"],
    ),
    "a collector of events": (
        {"inbox": "inbox: {use: collectors.api, with: {accepts: events, token: x}, to: tax}", "rows": ""},
        [],
    ),
    "a parser behind a collector of events": (
        {"inbox": "inbox: {use: collectors.api, with: {accepts: events, token: x}, to: rows}"},
        [
            f"2:67: stages.inbox.to: 'rows' is a parser and {REPORTS}; 'inbox' gives events",
        ],
    ),
    "nobody sends to it": (
        {"lost": "lost: {use: experts.taxonomy, to: files}"},
        ["6:3: warning: stages.lost: nobody sends to it: it never gets anything"],
    ),
    "named twice": ({"tax": TAX.replace("files", "[files, files]")}, ["4:44: stages.tax.to.1: 'files' is named twice"]),
    "a stage that sends to itself": (
        {"tax": TAX.replace("files", "[tax, files]")},
        ["4:37: stages.tax.to.0: a cycle: tax -> tax; take one of these ways out"],
    ),
    "two routes": (
        {"tax": TAX.replace("files", "[files, more]"), "more": "more: {use: experts.taxonomy, to: files}"},
        [f"4:44: {ROUTES}"],
    ),
    "two routes, one of them of errors": (
        {
            "tax": TAX.replace("files", "[files, more]"),
            "more": "more: {use: outputs.file, with: {path: y}, to: {error: files}}",
        },
        [],
    ),
    "two routes that meet before twins are dropped": (
        {
            "tax": "tax: {use: experts.taxonomy, to: [one, other]}",
            "one": "one: {use: experts.taxonomy, to: once}",
            "other": "other: {use: experts.taxonomy, to: once}",
            "once": "once: {use: experts.deduplicate, to: files}",
        },
        [],
    ),
    "twins are dropped on one of two routes, before they meet": (
        {
            "tax": "tax: {use: experts.taxonomy, to: [once, other]}",
            "other": "other: {use: experts.taxonomy, to: files}",
            "once": "once: {use: experts.deduplicate, to: files}",
        },
        [
            "4:43: warning: stages.tax.to.1: an event can reach 'files' by two routes: through 'once' and through "
            "'other'; experts.deduplicate behind where they meet would keep one"
        ],
    ),
    "two routes by other paths": (
        {"tax": "tax: {use: experts.filter, with: {keep: 'tlp:RED'}, to: {default: files, other: files}}"},
        [],
    ),
    "no such path": (
        {"tax": TAX.replace("to: files", "to: {default: files, eror: files}")},
        ["4:53: stages.tax.to.eror: no such path; did you mean 'error'?"],
    ),
    "the rest by another path": (
        {"tax": TAX.replace("to: files", "to: {error: files}")},
        ["4:3: warning: stages.tax: path 'default' is not connected: what takes it is dropped"],
    ),
}


@pytest.mark.parametrize(("changed", "said"), CASES.values(), ids=CASES)
def test_connections_are_checked(changed: dict[str, str], said: list[str], faults: Faults) -> None:
    lines = [line for line in (WHOLE | changed).values() if line]
    found = faults("stages:\n" + "".join(f"  {line}\n" for line in lines))

    assert len(found) == len(said), found
    for fault, expected in zip(found, said, strict=True):
        assert fault.startswith(f"pipeline.yaml:{expected}"), found


def test_every_cycle_is_named_once(faults: Faults) -> None:
    ring = "{use: experts.taxonomy, to: [%s]}"
    found = faults(
        f"""\
stages:
  a: {ring % "b"}
  b: {ring % "c"}
  c: {ring % "a, d"}
  d: {ring % "e"}
  e: {ring % "d"}
"""
    )

    assert found == [
        "pipeline.yaml:4:35: stages.c.to.0: a cycle: a -> b -> c -> a; take one of these ways out",
        "pipeline.yaml:6:35: stages.e.to.0: a cycle: d -> e -> d; take one of these ways out",
    ]


def test_a_cycle_is_named_though_parameters_are_wrong(faults: Faults) -> None:
    found = faults("stages:\n  a: {use: experts.taxonomy, with: {x: 1}, to: b}\n  b: {use: experts.taxonomy, to: a}\n")

    assert any("a cycle: a -> b -> a" in fault for fault in found)
    assert any("unknown name" in fault for fault in found)
