"""The documentation site, held against the code without building it; `make docs` builds it and checks the rest."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydantic import SecretStr

import prefect_genvideo
from prefect_genvideo.batch.manifest import load_manifest
from prefect_genvideo.batch.model import FALLBACK_KINDS
from prefect_genvideo.errors import GenVideoError, RejectedError, TaskLostError, UnknownOutcomeError
from prefect_genvideo.ledger.record import MOVES
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.settings import GenVideoSettings
from prefect_genvideo.simulator import dialects
from prefect_genvideo.simulator.faults import KINDS
from tests.fixtures.expected import failing
from tests.packaging.markdown import Fence, anchors, codes, fences, links, table, tables, without_fences
from tests.packaging.sources import PACKAGE, ROOT, SRC

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((SRC / PACKAGE).rglob("*.py")))


class _Loader(yaml.SafeLoader):
    """Reads `mkdocs.yml`, whose tags name functions of its plugins."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
SITE: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)


def named(page: Path) -> str:
    """A page as the tests' ids name it."""
    return page.relative_to(DOCS).as_posix()


def nav(entries: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(entries, str):
        return [entries]
    children: list[Any] = list(entries.values()) if isinstance(entries, dict) else list(entries)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [page for child in children for page in nav(child)]


def text(name: str) -> str:
    """A page's text."""
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_navigation_is_the_folder() -> None:
    """Every page can be reached, and every entry is a page."""
    assert sorted(nav(SITE["nav"])) == [named(page) for page in PAGES]


def test_llms_txt_lists_every_page() -> None:
    """In the order of nothing but its sections, each with a title and one line that says what it is about."""
    lines = [line for line in text("llms.txt").splitlines() if line.startswith("- ")]
    listed = [re.fullmatch(r"- \[[^\]]+\]\(([^)]+)\): \S.*", line) for line in lines]
    assert sorted(match[1] for match in listed if match) == [named(page) for page in PAGES]
    assert len(lines) == len(PAGES)


def test_the_reference_shows_types_without_their_validation() -> None:
    """`int`, not `Annotated[int, Field(ge=1)]`."""
    (reference,) = (plugin["mkdocstrings"] for plugin in SITE["plugins"] if "mkdocstrings" in plugin)
    assert reference["handlers"]["python"]["options"]["unwrap_annotated"] is True


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links, pictures and anchors."""
    broken: list[str] = []
    for link in links(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("fence", [fence for page in PAGES for fence in fences(page, "python")], ids=str)
def test_snippets_compile_and_import(fence: Fence) -> None:
    """Their syntax is right, and every name that they import is there."""
    compile(fence.text, str(fence), "exec")
    for line in re.findall(r"^(?:from|import) .*$", fence.text, re.M):
        exec(line, {})


def test_the_reference_names_what_is_there() -> None:
    """Each `:::` is an object of the package."""
    for page in PAGES:
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M):
            module, _, name = path.rpartition(".")
            found = importlib.import_module(path) if path == f"{PACKAGE}.errors" else importlib.import_module(module)
            assert path == f"{PACKAGE}.errors" or hasattr(found, name), path


def test_the_reference_has_every_public_name() -> None:
    """What the package exports is documented somewhere in the reference."""
    listed = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    missing = [name for name in prefect_genvideo.__all__ if not re.search(rf"^::: \S+\._?{name}$", listed, re.M)]
    assert missing == []


def fields_of(kind: Any) -> list[tuple[str, str, str]]:
    """Name, default and description of a model's fields, as a reader sees them."""
    found: list[tuple[str, str, str]] = []
    for name, field in kind.model_fields.items():
        value = "" if field.is_required() else field.get_default(call_default_factory=True)
        value = value.get_secret_value() if isinstance(value, SecretStr) else value
        default = "required" if field.is_required() else f"`{value}`" if value not in ("", None) else ""
        found.append((name, default, field.description))
    return found


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (page, name)
        for page in ("reference/blocks.md", "reference/data.md")
        for name in re.findall(r"<!-- fields of (\w+) -->", text(page))
    ],
)
def test_the_fields_are_all_there(page: str, name: str) -> None:
    """What a form says about each."""
    rows = table(text(page), f"fields of {name}")
    listed = [(codes(row["field"])[0], row["default"], row["what"]) for row in rows]
    assert listed == fields_of(getattr(prefect_genvideo, name))


def error_classes() -> set[str]:
    """Every class of the package that is a `GenVideoError`."""
    for module in pkgutil.walk_packages(prefect_genvideo.__path__, f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = set[str](), [GenVideoError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith(f"{PACKAGE}."):
                found.add(kind.__name__)
    return found


def test_troubleshooting_has_every_error() -> None:
    """A heading each, and no heading for what is no error of ours."""
    headings = re.findall(r"^## (\w+Error)$", text("troubleshooting.md"), re.M)
    assert sorted(headings) == sorted(error_classes())


def test_troubleshooting_quotes_what_is_said() -> None:
    """The phrases that a reader searches for stand in the source."""
    quoted = re.findall(r"^- \*([^*]+)\*", text("troubleshooting.md"), re.M)
    assert quoted
    assert [phrase for phrase in quoted if phrase not in SOURCE] == []


def test_the_settings_are_all_there() -> None:
    """Names and defaults."""
    rows = {codes(row["name"])[0]: row["default"] for row in table(text("settings.md"), "settings")}
    assert rows == {name: str(field.default) for name, field in GenVideoSettings.model_fields.items()}


def test_the_states_of_a_record_are_all_there() -> None:
    """As the ledger names them."""
    rows = next(rows for rows in tables(text("concepts/money.md")) if rows[0][0] == "state")
    assert {codes(row[0])[0] for row in rows[1:]} == set(MOVES)


def test_the_faults_are_all_there() -> None:
    """As the simulator names them, in its order."""
    assert [codes(row["kind"])[0] for row in table(text("simulator.md"), "faults")] == list(KINDS)


def test_the_dialects_are_all_there() -> None:
    """By operation and name, with what they should come to."""
    rows = table(text("simulator.md"), "dialects")
    listed = [(row["operation"], codes(row["name"])[0], row["what it looks like"], row["ends"]) for row in rows]
    assert listed == [(op, name, dialect.note, dialect.ends) for op, name, dialect in dialects()]


def test_the_kinds_of_fallbacks_are_all_there() -> None:
    """As a manifest names them."""
    rows = next(rows for rows in tables(text("manifests.md")) if rows[0][0] == "kind")
    assert [codes(row[0])[0] for row in rows[1:]] == list(FALLBACK_KINDS)


def test_the_commands_are_all_there() -> None:
    """Every command with all of its options, as the command itself says."""
    from prefect_genvideo.cli.app import app

    for row in table(text("reference/cli.md"), "commands"):
        words = [word for word in codes(row["command"])[0].split()[1:] if word.islower()]
        collection: Any = app
        for word in words:
            collection = collection[word]
        arguments = collection.assemble_argument_collection(parse_docstring=False)
        options = [argument.name for argument in arguments if argument.name.startswith("--")]
        assert codes(row["options"]) == options, words


def test_every_command_has_its_row() -> None:
    """Of both levels."""
    from prefect_genvideo.cli.app import app

    rows = [codes(row["command"])[0] for row in table(text("reference/cli.md"), "commands")]
    listed = [" ".join(word for word in row.split() if word.islower()) for row in rows]
    known = [name for name in app if not name.startswith("-") and name != "ledger"]
    known += [f"ledger {name}" for name in app["ledger"] if not name.startswith("-")]
    assert sorted(listed) == sorted(f"genvideo {name}" for name in known)


@pytest.mark.parametrize("fence", [fence for page in PAGES for fence in fences(page, "sh")], ids=str)
def test_commands_are_understood(fence: Fence) -> None:
    """Every `genvideo` line of a shell block has a command, options and values that the command line takes."""
    from prefect_genvideo.cli.app import app

    for line in fence.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["genvideo"]:
            app.parse_args([word for word in words[1:] if word != "&"], exit_on_error=False, print_error=False)


MANIFESTS = [DOCS / "manifests.md", DOCS / "cookbook" / "calendar-team.md", DOCS / "zh" / "getting-started.md"]


@pytest.mark.parametrize("fence", [fence for page in MANIFESTS for fence in fences(page, "yaml", "csv")], ids=str)
async def test_manifests_are_read(fence: Fence, tmp_path: Path) -> None:
    """The examples are batches without a problem."""
    file = tmp_path / f"batch.{fence.language}"
    file.write_text(fence.text, encoding="utf-8")
    manifest = await load_manifest(file)
    assert (len(manifest.rows), manifest.problems) == (2, [])


async def test_the_example_provider_works() -> None:
    """The page's client, as it stands: its rules, an answer, a refusal, an outcome nobody knows, a lost task."""
    scope: dict[str, Any] = {}
    exec(fences(DOCS / "adding-a-provider.md", "python")[0].text, scope)
    answers = [
        httpx.Response(200, json={"id": "t1"}),
        httpx.Response(422, json={"error": "no such ratio"}),
        httpx.Response(502, html="<html>"),
        httpx.Response(200, json={"id": "t1", "status": "rendering"}),
        httpx.Response(200, json={"id": "t1", "status": "done", "video": "https://cdn.acme.example/t1.mp4"}),
        httpx.Response(404, json={"error": "unknown"}),
    ]
    transport = httpx.MockTransport(lambda request: answers.pop(0))
    request = VideoRequest(model="acme-1", prompt="a cat", aspect_ratio="16:9")
    async with scope["AcmeClient"]("key", transport=transport) as client:
        assert client.validate(request) == []
        assert len(client.validate(request.model_copy(update={"duration": 11, "prompt": ""}))) == 2
        assert await client.create(request) == "t1"
        with failing(RejectedError, "no such ratio"):
            await client.create(request)
        with pytest.raises(UnknownOutcomeError):
            await client.create(request)
        assert (await client.get("t1")).state == "running"
        assert (await client.get("t1")).video_url == "https://cdn.acme.example/t1.mp4"
        with pytest.raises(TaskLostError):
            await client.get("t1")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_page_says_what_it_is(page: Path) -> None:
    """One heading of the first level, at the top."""
    plain = without_fences(page.read_text(encoding="utf-8"))
    assert plain.startswith("# ")
    assert len(re.findall(r"^# ", plain, re.M)) == 1


def test_the_tests_that_hold_a_promise_are_there() -> None:
    """A promise whose test is gone is none."""
    page = (DOCS / "security.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| ") and "held by" not in row]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", row)
        assert named, row
        assert [name for name in named if not (ROOT / name).is_file()] == []
