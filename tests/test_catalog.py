import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intelstream import catalog
from intelstream.errors import ConfigError, UnknownName

FEED = """\
name: Bad hosts
provider: Ours
summary: What we have seen.
documentation: https://ours.example/
terms: internal
auth: none
verified: never
collector: {use: collectors.file, with: {path: x}}
"""
FOREIGN = """\
from intelstream import sdk

class Mine(sdk.Expert[sdk.Overwrite]):
    async def process(self, batch):
        yield

class Half(sdk.Expert[sdk.Overwrite]):
    pass

NUMBER = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory of feeds with one of our own, one that has a built-in's name, and what is no feed."""
    for name in ("ours/bad_hosts", "abuse_ch/feodotracker", "ours/_draft", "Ours-2/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "feed.yaml").write_text(FEED, encoding="utf-8")
    (tmp_path / "ours/empty").mkdir()
    (tmp_path / "ours/readme.txt").write_text("", encoding="utf-8")
    return tmp_path


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with stages, one of them announced."""
    (tmp_path / "our_stages.py").write_text(FOREIGN, encoding="utf-8")
    (tmp_path / "broken_stages.py").write_text("raise RuntimeError('no')", encoding="utf-8")
    info = tmp_path / "our_stages-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-stages\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        f"[{catalog.GROUP}]\nexperts.mine = our_stages:Mine\nexperts.taxonomy = our_stages:Mine\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    catalog.announced.cache_clear()
    yield
    sys.modules.pop("our_stages", None)
    catalog.announced.cache_clear()


def test_listing_imports_no_stage() -> None:
    program = """\
import sys
from intelstream import catalog
names = catalog.names()
assert all(catalog.summary(name) for name in names)
print([name for name in sys.modules if name.startswith("intelstream.stages.") and name.count(".") > 2])
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603

    assert told.stdout == "[]\n"


def test_a_summary_is_the_first_sentence_of_the_file() -> None:
    assert catalog.summary("experts.taxonomy") == "Derive the RSIT taxonomy from the classification type."


def test_helpers_are_no_stages() -> None:
    assert not [name for name in catalog.names() if name.rpartition(".")[2].startswith("_")]


UNKNOWN = {
    "a typo": ("experts.taxonmy", "no such stage; did you mean 'experts.taxonomy'?"),
    "the last part alone": ("taxonomy", "no such stage; did you mean 'experts.taxonomy'?"),
    "nothing near": ("xxxxxxxxx", "no such stage"),
    "a module": ("os:system", "package 'os' is not allowed by the host file's `plugins`"),
    "dots": ("..:x", "package '' is not allowed by the host file's `plugins`"),
}


@pytest.mark.parametrize(("use", "said"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_stage_that_is_none_is_said_to_be_so(use: str, said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        catalog.load(use)

    assert str(caught.value) == said


@pytest.mark.usefixtures("foreign")
def test_foreign_stages_come_from_allowed_packages_only() -> None:
    assert catalog.foreign_names(["our_stages"]) == ("experts.mine",)
    assert catalog.foreign_names([]) == ()
    assert catalog.load("experts.mine", ["our_stages"]).__name__ == "Mine"
    assert catalog.load("our_stages:Mine", ["our_stages"]).__name__ == "Mine"
    with pytest.raises(UnknownName, match="not allowed by the host file"):
        catalog.load("experts.mine")


@pytest.mark.usefixtures("foreign")
def test_a_package_that_is_not_allowed_is_not_even_imported() -> None:
    with pytest.raises(UnknownName, match="not allowed"):
        catalog.load("our_stages:Mine", ["other"])

    assert "our_stages" not in sys.modules


@pytest.mark.usefixtures("foreign")
def test_a_built_in_stage_is_not_replaced() -> None:
    assert catalog.load("experts.taxonomy", ["our_stages"]).__module__ == "intelstream.stages.experts.taxonomy"


NO_STAGES = {
    "no stage": ("our_stages:NUMBER", "not a stage"),
    "half a stage": ("our_stages:Half", "not a stage"),
    "no such attribute": ("our_stages:None_", "importing it: AttributeError"),
    "a module that raises": ("broken_stages:X", "importing it: RuntimeError: no"),
}


@pytest.mark.parametrize(("use", "said"), NO_STAGES.values(), ids=NO_STAGES)
@pytest.mark.usefixtures("foreign")
def test_what_a_foreign_package_gives_must_be_a_stage(use: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        catalog.load(use, ["our_stages", "broken_stages"])


def test_a_feed_of_the_user_comes_before_a_built_in_one(folder: Path) -> None:
    assert catalog.feed("abuse_ch.feodotracker", [folder]).provider == "Ours"
    assert catalog.feed("abuse_ch.feodotracker").provider == "abuse.ch"


def test_feeds_are_listed_each_once(folder: Path) -> None:
    names = list(catalog.feed_names([folder]))

    assert len(names) == len(set(names))
    assert set(names) == {"ours.bad_hosts"} | set(catalog.feed_names())


def test_a_feed_that_is_none_is_said_to_be_so(folder: Path) -> None:
    with pytest.raises(UnknownName, match=r"no such feed; did you mean 'ours\.bad_hosts'\?"):
        catalog.feed("ours.bad_host", [folder])
    for name in ("../../etc", "ours", "ours._draft", "ours.empty"):
        with pytest.raises(UnknownName, match="no such feed"):
            catalog.feed(name, [folder])


def test_the_faults_of_a_feed_s_file_have_their_places(folder: Path) -> None:
    path = folder / "ours/bad_hosts/feed.yaml"
    path.write_text(FEED.replace("auth: none", "auth: some").replace("terms", "trems"), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        catalog.feed("ours.bad_hosts", [folder])

    texts = [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]
    assert texts[0].startswith("1:1: terms: is missing")
    assert texts[1] == "5:1: trems: unknown name; did you mean 'terms'?"
    assert texts[2].startswith("6:1: auth: expected 'none', 'token', 'password' or 'certificate'")


def test_labels_are_what_the_file_says_of_the_feed() -> None:
    assert catalog.feed("abuse_ch.feodotracker").labels == {
        "provider": "abuse.ch",
        "name": "Feodo Tracker",
        "documentation": "https://feodotracker.abuse.ch/",
    }
