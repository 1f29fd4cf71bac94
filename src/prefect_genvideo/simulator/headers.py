"""Headers of every answer: the time, the gateway's version, and the provider's own id of the call."""

from __future__ import annotations

from collections.abc import MutableMapping
from email.utils import formatdate
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_genvideo.simulator.accounts import VERSION
from prefect_genvideo.simulator.purse import Purse

GATEWAY = "/sudashui/"
"""Paths that the gateway itself answers; its files come from elsewhere."""
# Header of the call's own id, by the beginning of the path.
_IDS = {"/ark/": "X-Request-Id", "/ark-files/": "X-Tos-Request-Id"}


class ResponseHeaders:
    """Puts a time on every answer, and an id on those of the gateway and of Ark. A proxy's own page has none.

    Args:
        app: The application.
        purse: Has the gateway's clock.
    """

    def __init__(self, app: ASGIApp, purse: Purse) -> None:
        self._app, self._purse = app, purse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the id when the call comes, and send it with the answer's head."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told: dict[str, Any] = scope.setdefault("state", {})
        request_id = told["request_id"] = self._purse.new_id()
        own_id = next((name for path, name in _IDS.items() if str(scope["path"]).startswith(path)), None)
        of_gateway = str(scope["path"]).startswith(GATEWAY)

        async def with_head(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Date", formatdate(self._purse.now, usegmt=True))
                if of_gateway and not told.get("from_proxy"):
                    headers.setdefault("X-Oneapi-Request-Id", request_id)
                    headers.setdefault("X-New-Api-Version", VERSION)
                if own_id is not None and not told.get("from_proxy"):
                    headers.setdefault(own_id, request_id)
            await send(message)

        await self._app(scope, receive, with_head)
