"""Texts of strangers on their way into errors, labels and tables."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from prefect_genvideo.batch.model import Manifest, RowProblem
from prefect_genvideo.batch.report import BatchReport, BatchRow
from prefect_genvideo.errors import InvalidRequestError, counted, printable, redact, shorten, shown
from prefect_genvideo.models import Problem, duration_or_default
from tests.packaging.sources import SRC


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("un chat découvre la mer · 猫看海 · 👩‍🚀", "un chat découvre la mer · 猫看海 · 👩‍🚀"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("invoice\u202egpj.exe", "invoice\\u202egpj.exe"),
        ("half \ud800", "half \\ud800"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_drives_a_terminal_becomes_visible(text: str, safe: str) -> None:
    """Every script and emoji stays; control characters, changes of direction and half characters are escaped."""
    assert printable(text) == shorten(text) == redact(text) == safe


def test_a_label_is_one_line_of_its_length() -> None:
    """Line breaks and tabs become spaces; what is cut ends in an ellipsis."""
    assert shorten(" a\n\tb\r\u2028c ") == "a b c"
    assert shorten("x" * 60) == "x" * 60
    assert shorten("x" * 61) == "x" * 59 + "…"
    assert shorten("\x1b" * 100, 10) == "\\x1b\\x1b\\…"


def test_a_problem_is_safe_however_it_is_made() -> None:
    """Field, value and limit come from files and servers of strangers."""
    link = "https://host/a.jpg?X-Amz-Signature=abcdef"
    problem = Problem("vars.\x1b]0;x\x07" + "y" * 500, link, f"no picture\n- forged = line: {link}")
    error = InvalidRequestError("Nothing was sent.", problems=[problem])
    assert len(str(error).splitlines()) == 2
    assert len(problem.field) == 200
    assert "abcdef" not in problem.value
    assert "\x1b" not in str(error) + problem.field


@pytest.mark.parametrize(
    ("value", "text"),
    [("", "(empty)"), (5, "5"), (None, "None"), (10**5000, "int"), ("x" * 10_000_000, "x" * 79 + "…")],
    ids=["empty", "number", "none", "endless number", "endless text"],
)
def test_any_value_can_be_shown(value: object, text: str) -> None:
    """Also one that Python itself cannot print."""
    assert shown(value) == text


def test_no_duration_in_a_form_is_the_models_default() -> None:
    """Forms have no empty number; providers take whole seconds as such."""
    assert duration_or_default(0) is None
    assert duration_or_default(0.0) is None
    assert isinstance(duration_or_default(5.0), int)
    assert duration_or_default(7.5) == 7.5


SECRET = "S3cr3tK3y"


@pytest.mark.parametrize(
    "text",
    [
        f"see https://h.example/a.jpg?sig={SECRET}",
        f"see HTTPS://h.example/a.jpg?sig={SECRET}",
        f"(https://h.example/a?x=(1)&sig={SECRET})",
        f"[https://h.example/a?x=[1]&sig={SECRET}]",
        f"https://h.example/a?x={{1}}&sig={SECRET}",
        f"https://h.example/a#access={SECRET}",
        f"https://h.example?sig={SECRET}",
        f"https://h.example/go?u=https%3A%2F%2Fo.example%2Fa%3Fsig%3D{SECRET}",
        f"https://h.example/go/https%3A%2F%2Fo.example%2Fa%3Fsig%3D{SECRET}",
        f"cannot fetch https%3A%2F%2Fo.example%2Fa%3Fsig%3D{SECRET} now",
        f'{{"url":"https:\\/\\/h.example\\/a?sig={SECRET}"}}',
        f"https://user:{SECRET}@h.example/a",
        f"https://user:p@{SECRET}@h.example/a",
        f"https://user:p/{SECRET}@h.example/a",
        f"https://user:p?{SECRET}@h.example/a",
        f"https://user:/{SECRET}@h.example/a",
        f"https://user:?{SECRET}@h.example/a",
        f"https://{SECRET}@h.example/a",
        f"Authorization: Bearer {SECRET}",
        f"Authorization: Basic dXNlcjpwYXNz{SECRET}=",
        f"authorization: {SECRET}",
        f"x-api-key: {SECRET}",
        f'{{"api_key": "{SECRET}"}}',
        f'{{\\"api_key\\": \\"{SECRET}\\"}}',
        f"api-key={SECRET}&a=1",
        f"X-Amz-Signature={SECRET}",
        f"the key sk-{SECRET} is wrong",
        f"data:image/png;base64,AAAA\n{SECRET}",
    ],
)
def test_no_secret_gets_through(text: str) -> None:
    """Wherever people and servers put it; a second look changes nothing."""
    once = redact(text)
    assert SECRET not in once
    assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("下载失败：https://h.example/a?sig=1，请稍后重试", "下载失败：https://h.example/a?***，请稍后重试"),
        ("(see https://h.example/a?b=c), then go", "(see https://h.example/a?***), then go"),
        ("see https://h.example:8443/a/@b/c.", "see https://h.example:8443/a/@b/c."),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://127.0.0.1:8787, then", "http://127.0.0.1:8787, then"),
        ("no trust in https://minio:9000: check it", "no trust in https://minio:9000: check it"),
        ("no trust in https://s3.h.example: check it", "no trust in https://s3.h.example: check it"),
        ("a basic plan, Basic subscription", "a basic plan, Basic subscription"),
        ("the signature was refused; password required", "the signature was refused; password required"),
    ],
)
def test_what_is_no_secret_stays(text: str, safe: str) -> None:
    """The sentence around a link too."""
    assert redact(text) == safe


@pytest.mark.parametrize(
    "part", ["data:;", "data:a; ", "data:x/y;", "bearer ", "basic A", "http://a@", "api_key :", "sk-"]
)
def test_hiding_secrets_takes_no_longer_than_a_text_is_long(part: str) -> None:
    """A provider's words come by the megabyte, and all else waits while they are made safe."""
    began = time.process_time()
    assert len(redact(part * (65_536 // len(part)))) <= 500
    assert time.process_time() - began < 2  # 0.02 s where nothing else runs


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("video",), ["0 videos", "1 video", "2 videos", "1,200 videos"]),
        (("rule is", "rules are"), ["0 rules are", "1 rule is", "2 rules are", "1,200 rules are"]),
    ],
)
def test_numbers_agree_with_their_words(words: tuple[str, ...], told: list[str]) -> None:
    """As people write them, at none, one, some and many."""
    assert [counted(number, *words) for number in (0, 1, 2, 1200)] == told


VIDEO = BatchRow(number=1, key="k", model="m", provider="p", state="saved")
MESSAGES: dict[str, tuple[Callable[[int], str], list[str]]] = {
    "report": (
        lambda count: BatchReport(key="k", rows=[VIDEO] * count).summary(),
        ["0 videos: none wanted", "1 video: 1 saved", "2 videos: 2 saved"],
    ),
    "manifest": (
        lambda count: refusal(Manifest("a.csv", [], [RowProblem(1, None, Problem("model", "x", "y"))] * count).check),
        [
            "",
            "The manifest a.csv has 1 problem; nothing was sent.",
            "The manifest a.csv has 2 problems; nothing was sent.",
        ],
    ),
    "advice": (
        lambda count: BatchReport(key="k", rows=[VIDEO.model_copy(update={"state": "pending"})] * count).advice(),
        ["", "Row 1: fetched by the reconcile flow.", "Rows 1, 1: fetched by the reconcile flow."],
    ),
}
"""Messages that count something, with what they say of none, one and two."""


def refusal(check: Callable[[], None]) -> str:
    """The first line of what is refused; empty when nothing is."""
    try:
        check()
    except InvalidRequestError as error:
        return str(error).splitlines()[0]
    return ""


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_agree_with_their_numbers(name: str) -> None:
    """One video is not `1 videos`."""
    say, told = MESSAGES[name]
    assert [say(count) for count in range(3)] == told


BY_HAND = re.compile(
    r"""\{len\([^{}]*\)(?::,)?\}\ [a-z]+s\b          # {len(rows)} videos
    |['"]s['"]\ if|(?:''|"")\ if\ [^{}]*==\ 1\ else\ ['"]s  # '' if one else 's'
    |%d\ [a-z]+s\b""",
    re.X,
)
# Numbers that are never 1: limits, and lengths that are over a limit.
NEVER_ONE = re.compile(r"_MAX_|_ROWS_SHOWN|characters|%d bytes")


def test_no_plural_is_made_by_hand() -> None:
    """A message that counts takes `counted`."""
    lines = [
        f"{path.relative_to(SRC)}: {line.strip()}"
        for path in sorted(SRC.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if BY_HAND.search(line) and not NEVER_ONE.search(line)
    ]
    assert lines == []
