"""Texts of strangers on their way into errors, labels and tables."""

from __future__ import annotations

import pytest

from prefect_genvideo.errors import InvalidRequestError, printable, redact, shorten, shown
from prefect_genvideo.models import Problem, duration_or_default


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
        ("a basic plan, Basic subscription", "a basic plan, Basic subscription"),
        ("the signature was refused; password required", "the signature was refused; password required"),
    ],
)
def test_what_is_no_secret_stays(text: str, safe: str) -> None:
    """The sentence around a link too."""
    assert redact(text) == safe
