"""Requests whose spelling somebody has signed, sent as they are; the store's small writes go this way."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import httpx

from prefect_genvideo.providers.http import Client

# Seconds without a byte, as the S3 client's own, and for all of one request.
_QUIET, _LONGEST = 60.0, 120.0
# Bytes of an answer that are read, so that its connection can be used again.
_SMALL_ANSWER = 64 * 1024


class SignedRequests:
    """Sends requests to hosts that the operator configured, past the environment's proxies."""

    def __init__(self) -> None:
        """Make it; connections are opened when requests need them."""
        self._client = Client(read_timeout=_QUIET)
        self._closed = False

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str]]:
        """Send one request and return status and headers; the answer's body is dropped.

        Args:
            method: e.g. `PUT`.
            url: Absolute, its path as it was signed.
            headers: All but the host's.
            body: All of it.

        Raises:
            OSError: Nothing was answered, or nothing sent.
        """
        request = self._client.request(method, url, headers=headers, content=body)
        if self._closed or not url.endswith(request.url.raw_path.decode()):
            raise OSError("closed, or the path would be written anew")
        try:
            with anyio.fail_after(_LONGEST):
                async with self._client.places:
                    return await self._exchanged(request)
        except httpx.HTTPError as error:
            raise OSError(f"no answer: {type(error).__name__}") from error

    async def _exchanged(self, request: httpx.Request) -> tuple[int, Mapping[str, str]]:
        response, arrived = await self._client.send(request), 0
        try:
            async for chunk in response.aiter_raw():
                arrived += len(chunk)
                if arrived > _SMALL_ANSWER:
                    break
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        return response.status_code, response.headers

    async def aclose(self) -> None:
        """Close every connection; nothing is sent any more."""
        self._closed = True
        await self._client.aclose()
