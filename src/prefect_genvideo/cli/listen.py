"""`genvideo listen`: webhooks and stores' notifications as Prefect events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_genvideo.cli.console import complain, needs, plain_errors

LISTEN = ("starlette", "uvicorn", "prometheus_client")
"""Modules that the event door needs; Prefect brings them."""


def listen(
    config: Path | None = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 8788,
    queue: Path | None = None,
    resend: bool = False,
) -> None:
    """Take signed webhooks, notifications of stores and callbacks, and give them to the Prefect API as events.

    For a Prefect server of your own; Prefect Cloud has webhooks. The secrets of the sender `webhook` are in
    GENVIDEO_LISTEN_WEBHOOK_SECRETS, or in the file that GENVIDEO_LISTEN_WEBHOOK_SECRETS_FILE names; those of others in
    variables with their names. Without a configuration the senders are webhook, s3, eventbridge, oss, cos and callback,
    as far as their secrets are set.

    Args:
        config: YAML file with senders and bounds.
        host: Address to listen on; put a proxy with TLS in front, which passes /hooks/ alone.
        port: TCP port.
        queue: SQLite file in which events wait; genvideo-listen.sqlite in Prefect's home by default.
        resend: Send what was set aside once more.
    """
    with plain_errors():
        needs("listen", *LISTEN)
        from prefect.settings import PREFECT_HOME

        from prefect_genvideo.listen import read_config, serve

        bounds, sources = read_config(config)
        shown = f"[{host}]" if ":" in host else host
        for source in sources.values():
            complain(
                f"http://{shown}:{port}/hooks/{source.name}: {source.shape.about} -> {source.shape.event}", "green"
            )
        serve(bounds, sources, queue or PREFECT_HOME.value() / "genvideo-listen.sqlite", host, port, revive=resend)
