"""What every provider's client can do, and what they share: checking, sending, judging, downloading.

A client is single-shot: it classifies what came back and never retries by itself. Retrying, polling and recording
belong to its callers.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

import anyio.to_thread
import httpx

from prefect_genvideo.errors import GenVideoError, InvalidRequestError, UnknownOutcomeError
from prefect_genvideo.media.inspect import MediaKind, asset_kind
from prefect_genvideo.models import Generation, Problem, UploadedAsset, VideoRequest
from prefect_genvideo.prices.table import PriceTable
from prefect_genvideo.providers import http
from prefect_genvideo.providers.account import checked_address, checked_key
from prefect_genvideo.providers.answers import as_object, listed_names, salvage_id
from prefect_genvideo.providers.assets import not_links
from prefect_genvideo.providers.billing import Billing
from prefect_genvideo.providers.classify import ID_AND_REFUSAL, Facts, Row, facts_of, judge, to_error
from prefect_genvideo.providers.download import fetch_small, open_video
from prefect_genvideo.providers.evidence import created_ids
from prefect_genvideo.providers.http import Client, Reply, exchange
from prefect_genvideo.providers.limits import ModelRules
from prefect_genvideo.providers.readings import Manners, read_generation
from prefect_genvideo.providers.ssrf import Guard
from prefect_genvideo.providers.video_stream import MAX_SIZE, DownloadRules, VideoStream

READ_TIMEOUT = http.READ_TIMEOUT
"""Seconds without a byte of an answer before a call is given up."""
STALL_TIMEOUT = 45.0
"""Seconds without a byte of a video before a download is given up."""

ClientT = TypeVar("ClientT", bound="VideoClient")


class VideoClient(Billing):
    """A provider of generated videos.

    Attributes:
        name: Short name, as used in blocks, ledgers and errors.
        title: Name as people write it.
        uploads: Whether local assets can be uploaded here.
        poll_floor: Seconds; the provider knows nothing newer in between.
        reports_queue: Whether `queued` really means that work has not begun; deadlines run from the start of work.
        upload_lifetime: How long an uploaded asset's link can be relied on; None without uploads.
        inlines: Kinds of local files that go into a request as they are, where there are no uploads.
        default_base_url: Where the API is.
        documented_models: Models whose rules are known; others pass with the general rules only.
        default_model: Model of callers that name none; empty: they must name one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    uploads: ClassVar[bool]
    poll_floor: ClassVar[float]
    reports_queue: ClassVar[bool] = True
    upload_lifetime: ClassVar[timedelta | None] = None
    inlines: ClassVar[frozenset[MediaKind]] = frozenset({"image"})
    default_base_url: ClassVar[str]
    documented_models: ClassVar[tuple[str, ...]] = ()
    default_model: ClassVar[str] = ""

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        *,
        timeout: float = READ_TIMEOUT,
        stall_timeout: float = STALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_private: bool = False,
        max_video_size: int = MAX_SIZE,
        model_rules: ModelRules | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        """Make a client; nothing is sent.

        Args:
            api_key: The account's key. Goes to the API's own hosts only.
            base_url: Where the API is, without `/v1`; the provider's by default.
            timeout: Seconds without a byte of an answer before a call is given up.
            stall_timeout: Seconds without a byte of a video before a download is given up.
            transport: Stands in for the network. The caller closes it.
            allow_private: Whether results may come from private and loopback hosts.
            max_video_size: Bytes; a larger video is refused.
            model_rules: What is known of models beyond the built-in tables; `limits.read_model_rules` reads a file.
            prices: What the user pays for generations; `prices.read_price_tables` reads a file.

        Raises:
            InvalidRequestError: The key or the URL cannot be used at all.
        """
        self._key = self._checked("api_key", checked_key, api_key)
        self.base_url = self._checked("base_url", checked_address, base_url or self.default_base_url)
        self._timeout = timeout
        self._transport = transport
        self._allow_private = allow_private
        self._download_rules = DownloadRules(self.base_url, self._key, stall_timeout, self.name, max_video_size)
        self.model_rules = model_rules or ModelRules()
        self.price_table = prices or PriceTable()
        self._clients: dict[bool, Client] = {}
        self._downloads: Client | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    async def __aenter__(self: ClientT) -> ClientT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. The client must not be used afterwards."""
        while self._clients:
            await self._clients.popitem()[1].aclose()
        if self._downloads:
            await self._downloads.aclose()

    @property
    def account(self) -> str:
        """Fingerprint of key and address, 16 hex digits. Tells accounts apart and does not reveal the key."""
        key = hashlib.sha512(self._key.encode()).digest()
        return hashlib.blake2b(self.base_url.encode(), key=key, digest_size=8).hexdigest()

    # What a provider fills in

    @abstractmethod
    def body(self, request: VideoRequest) -> dict[str, Any]:
        """Return the JSON body that `create` sends, with local images inlined where the provider takes them.

        Raises:
            InvalidRequestError: An asset cannot be read.
        """

    async def upload(
        self, source: str | Path | bytes, filename: str | None = None, media_type: str | None = None
    ) -> UploadedAsset:
        """Upload a reference file. Safe to repeat.

        Args:
            source: Path, data URL or content.
            filename: Name to give it; the path's by default.
            media_type: What it is when its content does not show it.

        Raises:
            InvalidRequestError: The file is missing, of a wrong kind or too large, or there is no upload here.
            RejectedError: The provider refused it.
            TransientError: It did not get through.
        """
        del source, filename, media_type
        raise self._invalid("source", self._instead_of_uploads)

    def _unsendable(self, request: VideoRequest) -> list[Problem]:
        """Return every asset that cannot go into a body as it stands."""
        return not_links(request)

    _instead_of_uploads: ClassVar[str] = "no upload: give an http(s) link, or an s3:// URI of a bucket that can presign"
    _id_header: ClassVar[str] = ""  # of answers, with the provider's own id of the call
    _create_path: ClassVar[str]
    _query_path: ClassVar[str]  # with {task_id}
    _manners: ClassVar[Manners] = Manners()
    _create_table: ClassVar[tuple[Row, ...]]
    _query_table: ClassVar[tuple[Row, ...]]

    def link_identity(self, url: str) -> str | None:
        """Return what stands for an uploaded asset's link in a request's fingerprint, or None for any other link.

        Uploading a file again gives another link; a rerun that does so still wants the same video.
        """
        del url

    # What they share

    async def create(self, request: VideoRequest) -> str:
        """Start a generation, which costs money, and return its task id. Sent once, never again by itself.

        Raises:
            InvalidRequestError: A rule is broken; nothing was sent.
            RejectedError: The provider refused; nothing was made.
            TransientError: It is proven that nothing was made; it may be sent again.
            UnknownOutcomeError: It went out and its fate is not known.
        """
        content = await self._content(request)
        reply = await self._exchange("POST", self._create_path, content=content, fresh=True)
        return await self._task_id_of(reply, request)

    def content_url(self, task_id: str) -> str | None:
        """Return where the API itself serves a finished task's video to the key, for answers that name no link.

        Args:
            task_id: The provider's id.

        Returns:
            A link for `open_video`, which may be refused; None where the API has no such address.
        """
        del task_id
        return None

    async def get(self, task_id: str) -> Generation:
        """Ask about a task once.

        Raises:
            TransientError: The answer says nothing about the task.
            TaskLostError: The provider does not know the id. Right after a create that may pass.
        """
        path = self._query_path.format(task_id=quote(task_id, safe=""))
        return self._generation_of(await self._exchange("GET", path), task_id)

    async def cancel(self, task_id: str) -> Generation:
        """Cancel a task that has not begun, which costs nothing, and return how it ended.

        Args:
            task_id: The provider's id.

        Raises:
            InvalidRequestError: There is no way to do so here.
            RejectedError: It runs and is billed, or has ended otherwise.
            TaskLostError: The provider does not know the id.
            TransientError: Whether it was cancelled is not known; cancel again.
        """
        del task_id
        raise self._invalid("task_id", "of a provider that can cancel; this one cannot, and the task goes on")

    def open_video(
        self, url: str, *, offset: int = 0, if_range: str | None = None, max_size: int | None = None
    ) -> AbstractAsyncContextManager[VideoStream]:
        """Open a result as a stream of verified bytes.

        Args:
            url: The generation's `video_url`.
            offset: Byte to go on from; heeded only together with `if_range`.
            if_range: ETag of the earlier bytes. Where the stream really starts is in its `offset`.
            max_size: Bytes; a larger file is refused. The client's `max_video_size` when not given.

        Raises:
            LinkExpiredError: The link is refused; query the task for a fresh one.
            DownloadError: It is no video, the address is refused, or it does not come.
        """
        rules = self._download_rules if max_size is None else replace(self._download_rules, max_size=max_size)
        return open_video(self._downloader(), rules, url, offset=offset, if_range=if_range)

    async def fetch_picture(self, url: str, *, max_size: int = 5 * 1024 * 1024) -> bytes:
        """Fetch a cover picture.

        Args:
            url: The generation's `cover_url`.
            max_size: Bytes; a larger file is refused.

        Raises:
            DownloadError: It does not come, is too large, or its address is refused.
        """
        return await fetch_small(self._downloader(), replace(self._download_rules, max_size=max_size), url)

    def _downloader(self) -> Client:
        """The client for results; a provider's answers name their hosts, so it is guarded."""
        if self._downloads is None:
            self._downloads = Client(
                read_timeout=self._download_rules.stall_timeout,
                guard=Guard(self._trusted_hosts(), allow_private=self._allow_private),
                transport=self._transport,
            )
        return self._downloads

    # How answers are read; a provider may do so in its own way

    async def _task_id_of(self, reply: Reply, request: VideoRequest) -> str:
        """Return the task id of a create's answer, or raise what the answer means."""
        facts, answered = self._facts_of(reply), 200 <= reply.status < 300
        found = created_ids(reply.json)
        if answered and found.task_id and not facts.refused:
            return found.task_id
        named = found.task_id or found.suspect or (salvage_id(reply.body) if reply.json is None else None)
        if answered and found.task_id:
            raise self._error((ID_AND_REFUSAL,), facts, named)
        error = await self._refusal(facts, request, named if answered else None)
        if isinstance(error, UnknownOutcomeError):
            error.task_id = named  # whatever the status was, a person may go by it
        elif found.is_named:
            error.task_id = found.task_id
        raise error

    async def _refusal(self, facts: Facts, request: VideoRequest, task_id: str | None) -> GenVideoError:
        """Return what a create's answer without an id means."""
        del request
        return self._error(self._create_table, facts, task_id)

    def _generation_of(self, reply: Reply, task_id: str) -> Generation:
        """Return what a query's answer says, or raise what it means."""
        found = read_generation(reply, task_id, self.name, self._manners, self.base_url)
        if found is None:
            raise self._error(self._query_table, self._silence_of(reply), task_id)
        return found

    def _facts_of(self, reply: Reply) -> Facts:
        """Return what an answer shows that brought neither an id nor a task."""
        return facts_of(reply)

    def _silence_of(self, reply: Reply) -> Facts:
        """Return what a query's answer shows that says nothing about the task."""
        return self._facts_of(reply)

    def _trusted_hosts(self) -> frozenset[str]:
        return frozenset({urlsplit(self.base_url).hostname or ""})

    def _client(self, fresh: bool) -> Client:
        if fresh not in self._clients:
            self._clients[fresh] = Client(keep_alive=not fresh, read_timeout=self._timeout, transport=self._transport)
        return self._clients[fresh]

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        files: Mapping[str, Any] | None = None,
        fresh: bool = False,
        with_key: bool = True,
        size: int = 1,
    ) -> Reply:
        """Send one request with the key, to `path` below the base URL or to an absolute URL of our own."""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if with_key else {})
        if content is not None:
            headers["Content-Type"] = "application/json"
        client = self._client(fresh)
        async with client.places:
            return await exchange(
                client,
                method,
                self.base_url + path if path.startswith("/") else path,
                headers=headers,
                content=content,
                files=files,
                deadline=http.CONNECT_TIMEOUT + 2 * self._timeout,
                secret=self._key,
                id_header=self._id_header,
                size=size,
            )

    async def _listed_models(self, path: str, table: tuple[Row, ...]) -> tuple[list[str], bool]:
        """The names that the API lists, and whether these are all of them; `table` says what another answer means."""
        reply = await self._exchange("GET", path)
        names = listed_names(reply.json) if reply.status == 200 else None
        if names is None:
            raise self._error(table, self._facts_of(reply))
        return names, as_object(reply.json).get("has_more") is not True

    async def _content(self, request: VideoRequest) -> bytes:
        """The body's bytes, or every problem. Assets are read in a thread: they may be large."""
        if any(asset_kind(text) in {"local", "data"} for text in request.assets().values()):
            return await anyio.to_thread.run_sync(self._checked_content, request)
        return self._checked_content(request)

    def _checked_content(self, request: VideoRequest) -> bytes:
        problems = self.validate(request)
        reported = {problem.field for problem in problems}
        problems += [problem for problem in self._unsendable(request) if problem.field not in reported]
        if problems:
            raise InvalidRequestError(
                f"{self.title} would refuse this request; nothing was sent:",
                problems=problems,
                provider=self.name,
            )
        try:
            return json.dumps(self.body(request), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except ValueError:
            raise self._invalid("(request)", "text that can be written as UTF-8 JSON") from None

    def _checked(self, field: str, check: Callable[[str], str], value: str) -> str:
        try:
            return check(value)
        except ValueError as error:
            raise self._invalid(field, str(error)) from None

    def _invalid(self, field: str, limit: str) -> InvalidRequestError:
        problem = Problem(field, "(not shown)", limit)
        return InvalidRequestError(f"{self.title}: nothing was sent.", problems=[problem], provider=self.name)

    def _error(self, table: tuple[Row, ...], facts: Facts, task_id: str | None = None) -> GenVideoError:
        return to_error(judge(table, facts), facts, title=self.title, provider=self.name, task_id=task_id)
