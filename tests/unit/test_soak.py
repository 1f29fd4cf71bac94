"""The soak in short, and what it searches with: a search that finds nothing must be able to find something."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from benchmarks.leaks import leaks

SECRET = "sk-sim/a+secret=0123456789"
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_bad_weather_leaves_every_wish_paid_once_and_delivered() -> None:
    """Ten seconds of it: kills, cut lines, stores that fail, clocks that jump; then the last line is held."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
    command = [sys.executable, "benchmarks/soak.py", "--minutes", "0.15", "--seed", "5", "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))
    assert list(figures) == ["wanted", "billed", "delivered", "refused", "unknown_settled", "orphans", "leaks"]
    assert figures["wanted"] == figures["delivered"] + figures["refused"] > 5
    assert (figures["orphans"], figures["leaks"]) == (0, 0)


HIDDEN = {
    "plain": f"key is {SECRET}.",
    "JSON": json.dumps({"key": SECRET}),
    "JSON with escaped slashes": json.dumps({"key": SECRET}).replace("/", "\\/"),
    "percent": f"https://x.test/?a={quote(SECRET, safe='')}",
    "percent twice": quote(quote(SECRET, safe=""), safe=""),
    "repr": repr({"key": SECRET}),
    **{f"base64 behind {n}": base64.b64encode(b"x" * n + SECRET.encode() + b"yz").decode() for n in range(5)},
    "base64 of links": base64.urlsafe_b64encode(b"Bearer " + SECRET.encode()).decode(),
    "a pickle in JSON": json.dumps({"result": base64.encodebytes(b"\x80" * 60 + SECRET.encode() * 3).decode()}),
    "a signature": "GET https://x.test/v.mp4?expires=1&sig=0123456789abcdef0123",
    "a signature in a link": f"?from={quote('https://x.test/?X-Amz-Signature=0123456789abcdef0123', safe='')}",
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_found_in_every_form(text: str) -> None:
    """As programs write it."""
    assert len(leaks({"it": text.encode()}, [SECRET])) == 1


def test_what_is_no_secret_is_not_found() -> None:
    """A blanked key, a cut link, another key."""
    harmless = {"a": b"Bearer ***", "b": b"https://x.test/v.mp4?***", "c": b"sk-sim-another0123", "d": b"sig=***"}
    assert leaks(harmless, [SECRET]) == []
