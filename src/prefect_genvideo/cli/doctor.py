"""`genvideo doctor`: whether key, destination, clock and server will do, each in a line with what to do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Literal
from uuid import uuid4

from cyclopts import Parameter

from prefect_genvideo.cli.console import FAILED, command, give
from prefect_genvideo.cli.targets import credentials_from, destination_from, providers_with_keys
from prefect_genvideo.errors import GenVideoError, RateLimitedError, counted, redact
from prefect_genvideo.providers import NOT_SENT
from prefect_genvideo.storage.base import EXTRAS_REFUSED

Verdict = Literal["ok", "warn", "bad"]
# S3 refuses requests whose clock is a quarter of an hour off; signed links and leases suffer earlier.
_SKEW_S, _SKEW_BAD_S = 30, 600
_ANSWER_S = 15


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        verdict: Whether it will do; `warn`: it will, with a drawback.
        why: What was seen.
        todo: What to do about it; empty when nothing is to be done.
    """

    what: str
    verdict: Verdict
    why: str
    todo: str = ""

    def __str__(self) -> str:
        line = f"{self.verdict:<4} {self.what}: {self.why}"
        return f"{line}\n     → {self.todo}" if self.todo else line


@command
async def doctor(
    *,
    provider: Annotated[list[str] | None, Parameter(negative=())] = None,
    credentials: str | None = None,
    at: str | None = None,
) -> None:
    """Say whether key, destination, clock and server will do. Costs nothing; ends with 1 when something will not.

    Args:
        provider: Names of providers; those whose keys the environment has when not given.
        credentials: Saved credentials block of the one provider; else keys come from the environment.
        at: Destination: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
    """
    bad = 0
    async for one in _findings(provider, credentials, at):
        bad += one.verdict == "bad"
        give(one, {"what": one.what, "verdict": one.verdict, "why": one.why, "todo": one.todo})
    if bad:
        sys.exit(FAILED)


async def _findings(provider: list[str] | None, credentials: str | None, at: str | None) -> AsyncIterator[Finding]:
    from prefect_genvideo.providers import provider_names

    yield _installation()
    yield await _server()
    for name in provider if provider is not None else providers_with_keys(provider_names()):
        async for one in _account(name, credentials):
            yield one
    if at is None:
        yield Finding("destination", "warn", "not looked at", "name it with --at, e.g. --at s3://my-videos/clips")
        return
    async for one in _destination(at):
        yield one


def _installation() -> Finding:
    found = (
        f"prefect-genvideo {version('prefect-genvideo')}, Prefect {version('prefect')}, Python {sys.version.split()[0]}"
    )
    missing = [name for name in ("av", "PIL") if find_spec(name) is None]
    if missing:
        todo = 'without pictures, film joins and facts of references: pip install "prefect-genvideo[media]"'
        return Finding("installation", "warn", f"{found}; {', '.join(missing)} missing", todo)
    return Finding("installation", "ok", found)


async def _server() -> Finding:
    import httpx
    from prefect.settings import get_current_settings

    named = get_current_settings().api.url
    if not named:
        todo = "for deployments: prefect server start, and export PREFECT_API_URL=http://127.0.0.1:4200/api"
        return Finding("server", "warn", "none is named: each command starts a temporary one", todo)
    shown = redact(named)
    try:
        from prefect.client.orchestration import get_client

        async with get_client() as client:
            answered = (await client.hello()).status_code
            running = await client.api_version()
    except Exception as error:  # whatever the client makes of it: one line, and the other checks go on
        kind = type(error).__name__
        refused = isinstance(error, httpx.HTTPStatusError)
        todo = "check PREFECT_API_KEY" if refused else "start it, or mend PREFECT_API_URL"
        return Finding("server", "bad", f"{shown} does not answer as one: {kind} {redact(str(error))}", todo)
    if running.split(".")[:2] != version("prefect").split(".")[:2]:
        why = f"{shown} is Prefect {running}, this is {version('prefect')}"
        return Finding("server", "warn", why, "let the server be at least as new as its clients")
    return Finding("server", "ok", f"{shown} answers ({answered}), Prefect {running}")


async def _account(name: str, credentials: str | None) -> AsyncIterator[Finding]:
    from prefect_genvideo.blocks import resolve_credentials

    what = f"key of {name}"
    try:
        block = await resolve_credentials(credentials_from(name, credentials))
    except GenVideoError as error:
        yield Finding(what, "bad", str(error), "see `genvideo providers`")
        return
    async with block.get_client() as client:
        try:
            offered = await client.models()
        except GenVideoError as error:
            todo = "check the key, and the address where it is your own"
            if error.retryable:
                sent = error.reason != NOT_SENT
                todo = "try again later" if sent else "check network, proxy and the address where it is your own"
            # Asked too often, which says nothing against the key: Ark takes one such question a second.
            verdict: Verdict = "warn" if isinstance(error, RateLimitedError) else "bad"
            yield Finding(what, verdict, f"{client.base_url}: {error} ({error.reason or type(error).__name__})", todo)
        else:
            yield Finding(what, "ok", f"{client.base_url} offers {counted(len(offered), 'model')}")
        yield await _clock(client.base_url)


async def _clock(address: str) -> Finding:
    """Our clock beside that of a server, whose answers have its time in a header (RFC 9110, 6.6.1)."""
    import httpx

    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S) as client:
            began = datetime.now(timezone.utc)
            answer = await client.head(address)
            ended = datetime.now(timezone.utc)
        theirs = parsedate_to_datetime(answer.headers["Date"])
    except (httpx.HTTPError, KeyError, ValueError, TypeError) as error:
        return Finding("clock", "warn", f"{address} does not tell the time ({type(error).__name__})")
    # The header has whole seconds; the answer's way is the other doubt.
    off = abs((theirs - (began + (ended - began) / 2)).total_seconds())
    if off <= _SKEW_S:
        return Finding("clock", "ok", f"within {max(1, round(off))} s of {address}")
    verdict: Verdict = "bad" if off > _SKEW_BAD_S else "warn"
    return Finding("clock", verdict, f"{off:,.0f} s away from {address}", "set this machine's clock (NTP)")


async def _destination(at: str) -> AsyncIterator[Finding]:
    from prefect_genvideo.blocks import resolve_destination

    try:
        store = (await resolve_destination(destination_from(at))).get_store()
    except (GenVideoError, ValueError) as error:
        yield Finding("destination", "bad", redact(str(error)), "see --help for how a destination is named")
        return
    probe = f"_ledger/.doctor-{uuid4().hex}"
    steps: list[tuple[str, Callable[[], Awaitable[object]], str]] = [
        ("list", lambda: anext(store.list(probe), None), "grant s3:ListBucket; check bucket, region and endpoint"),
        ("write", lambda: store.put(probe, b"genvideo doctor"), "grant s3:PutObject on the prefix; check encryption"),
        ("read", lambda: store.get(probe), "grant s3:GetObject on the prefix"),
        ("delete", lambda: store.delete(probe), "grant s3:DeleteObject on the prefix"),
    ]
    for verb, step, todo in steps:
        try:
            await step()
        except (GenVideoError, OSError) as error:
            yield Finding(f"destination, {verb}", "bad", redact(str(error)), todo)
            return
    yield Finding("destination", "ok", f"{store.uri('')} can be listed, written, read and cleaned")
    try:
        keeps, lacks = await store.conditional_writes(), await store.shortcomings()
    except GenVideoError as error:
        if error.reason in EXTRAS_REFUSED:
            what, todo = error.reason.removesuffix(" refused"), "see the page Stores"
        else:
            what, todo = "conditional writes", "the ledger needs them"
        yield Finding(what, "bad", redact(str(error)), todo)
        return
    if keeps and not lacks:
        yield Finding("conditional writes", "ok", "tried, with several writers at once")
    elif keeps:
        yield Finding("conditional writes", "warn", "; ".join(lacks), "see the page Stores")
    else:
        why = "; ".join(lacks) or "the store does not keep them"
        yield Finding(
            "conditional writes", "bad", why, "another place for the ledger, or ledger_mode; see the page Stores"
        )
