"""Uploads, result clips, covers: everything that is a file, for all sides."""

from __future__ import annotations

import base64
import binascii
import io
import re
import secrets
import urllib.parse
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath

import anyio
import anyio.to_thread
from starlette.datastructures import UploadFile
from starlette.responses import Response

from prefect_genvideo.simulator.links import LinkKind
from prefect_genvideo.simulator.render import ClipCache, ClipSpec, Content, frame_size
from prefect_genvideo.simulator.rules import UPLOAD_LIMITS
from prefect_genvideo.simulator.state import SimulatorState, Upload
from prefect_genvideo.simulator.tasks import Task
from prefect_genvideo.simulator.wire import EXPIRED_XML, Answer, Call, FileResponse, respond

FILES = "/sudashui-files"
"""Path of Sudashui's file host."""
SENSE_FILES = "/senseaudio-files"
"""Path of SenseAudio's file host."""
ARK_FILES = "/ark-files"
"""Path of Ark's object store."""
_DATA_URL = re.compile(r"data:((?:image|audio)/[a-z0-9+.\-]+);base64,(.*)", re.DOTALL)
_MB = 1024 * 1024
# Bytes of rendered clips and covers that are kept in memory.
_CACHED = 64 * _MB
# Seconds until upload links are refused.
_UPLOAD_LIFE_S = 7200.0
_TOO_LARGE = "<html><head><title>413 Request Entity Too Large</title></head></html>"


class Files:
    """Takes uploads and hands out clips.

    Args:
        state: Tasks and uploads.
    """

    def __init__(self, state: SimulatorState) -> None:
        self.state = state
        self.cache = ClipCache(_CACHED)
        # Two encoders at most: a burst of downloads must leave a core for the answers.
        self._threads = anyio.CapacityLimiter(2)

    async def upload(self, call: Call) -> Response:
        """Take one multipart field `file` and answer with a signed link."""
        async with call.request.form(max_files=1, max_fields=8) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                return respond((400, {"error": "file is required"}))
            name = re.sub(r"[^\w.\-]+", "_", PurePosixPath((file.filename or "").replace("\\", "/")).name) or "file"
            known = UPLOAD_LIMITS.get(PurePosixPath(name).suffix.lower())
            if known is None:
                return respond((400, {"error": "unsupported file type"}))
            media_type, most = known
            if (file.size or 0) >= most * _MB:
                return respond((413, _TOO_LARGE))
            upload = await anyio.to_thread.run_sync(partial(self.state.keep, name, media_type, file.file))
        return respond((200, {"url": f"{call.origin}{self.upload_path(upload)}"}))

    def upload_path(self, upload: Upload) -> str:
        """Path and signature under which an upload can be read back."""
        path = f"{FILES}/proxy/{urllib.parse.quote(upload.name)}"
        return self.state.links.plain("upload", path, _UPLOAD_LIFE_S)

    def result_paths(self, task: Task) -> tuple[str, str]:
        """Fresh signed paths of the clip and its cover, as Sudashui links look."""
        paths = (f"{FILES}/proxy/generating/{task.file_id}/{name}" for name in ("output.mp4", "first.jpg"))
        life = self.state.result_lifetime("sudashui")
        clip, cover = (self.state.links.plain("result", path, life) for path in paths)
        return clip, cover

    async def sudashui_clip(self, call: Call) -> Response:
        """Serve a clip, or its cover picture where that is asked for, to whoever has a valid link."""
        if not self._signed("result", call):
            return respond((403, EXPIRED_XML))
        task = self.state.files.get(str(call.request.path_params["file_id"]))
        return await self._sent_result(call, task, cover=call.request.url.path.endswith(".jpg"))

    async def sudashui_asset(self, call: Call) -> Response:
        """Read an upload back."""
        if not self._signed("upload", call):
            return respond((403, EXPIRED_XML))
        return self._uploaded(call, self.state.uploads.get(str(call.request.path_params["rest"])))

    def _signed(self, kind: LinkKind, call: Call) -> bool:
        path = urllib.parse.quote(call.request.scope["path"])
        return self.state.links.plain_is_good(kind, path, call.request.query_params)

    def ark_paths(self, task: Task) -> tuple[str, str]:
        """Paths of the clip and of its picture, signed when the task was over: asking again gives no longer life."""
        since, life = task.done_at or task.created, self.state.result_lifetime("ark")
        paths = (f"{ARK_FILES}/{task.file_id}{name}" for name in (".mp4", "_last.jpeg"))
        clip, last = (self.state.links.tos(path, since, life) for path in paths)
        return clip, last

    async def ark_file(self, call: Call) -> Response:
        """Serve a clip, or its picture where that is asked for, while its link lives."""
        path = call.request.scope["path"]
        if not self.state.links.tos_is_good(path, call.request.query_params):
            return respond(tos_expired())
        file_id = str(call.request.path_params["name"]).removesuffix("_last")
        return await self._sent_result(call, self.state.files.get(file_id), cover=path.endswith(".jpeg"))

    async def keep_inline(self, link: str, origin: str) -> str | None:
        """Store what comes as a data URL, and return a link of our own; other links as they are.

        Args:
            link: What stands in a request.
            origin: Scheme and host of the link that is made.

        Returns:
            None if the data are broken, or the link is ours and dead.
        """
        if self.link_is_dead(link):
            return None
        found = _DATA_URL.match(link)
        if found is None:
            return link
        try:
            data = io.BytesIO(base64.b64decode(found.group(2), validate=True))
        except binascii.Error:
            return None
        keep = partial(self.state.keep, str(uuid.uuid4()), found.group(1), data, folder="image")
        upload = await anyio.to_thread.run_sync(keep)
        return f"{origin}{SENSE_FILES}/{upload.name}"

    async def senseaudio_file(self, call: Call) -> Response:
        """Serve a SenseAudio result; the links carry no signature and, without watermark, no extension."""
        task = self.state.files.get(str(call.request.path_params["file_id"]).removesuffix(".mp4"))
        return await self._sent_result(call, task)

    async def senseaudio_image(self, call: Call) -> Response:
        """Serve back a picture that came inline."""
        return self._uploaded(call, self.state.uploads.get(f"image/{call.request.path_params['name']}"))

    async def _sent_result(self, call: Call, task: Task | None, *, cover: bool = False) -> Response:
        """Render the clip or the cover if nobody asked before, and send it."""
        if task is None or not task.has_film:
            return not_found()
        spec, size = self.spec(task), self.state.config.clip_bytes
        work: Callable[[], Content] = partial(self.cache.cover, spec) if cover else partial(self.cache.clip, spec, size)
        content = await anyio.to_thread.run_sync(work, limiter=self._threads)
        if call.request.method == "GET" and not cover:
            self.state.downloads += 1
            task.downloads += 1
        manner = None if cover else self.state.spoken.file()
        if manner is None:
            return FileResponse(call, content, "image/jpeg" if cover else "video/mp4", self._sent)
        if manner.content:
            content = Content.of(manner.content(b"".join(content.chunks(0, content.size))))
        answer = FileResponse(call, content, "video/mp4", self._sent, manner.status)
        answer.headers.update(manner.headers)
        for name in manner.without:
            del answer.headers[name]
        return answer

    def spec(self, task: Task) -> ClipSpec:
        """What the clip of a task shows."""
        wanted, config = task.wanted, self.state.config
        picture = next(filter(None, map(self.find_upload, wanted.images)), None)
        path = picture.path if picture else None
        width, height = frame_size(wanted.resolution, wanted.ratio, path, config.full_size)
        label = f"{wanted.model} · {wanted.seconds:g} s · {wanted.ratio} · {wanted.resolution}"
        return ClipSpec(
            wanted.prompt, label, wanted.seconds, width, height, config.fps, picture.sha256 if picture else "", path
        )

    def find_upload(self, link: str) -> Upload | None:
        """The upload behind one of our links, whether or not the link still lives."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(link).path)
        for prefix in (f"{FILES}/proxy/", f"{SENSE_FILES}/"):
            if path.startswith(prefix):
                return self.state.uploads.get(path.removeprefix(prefix))
        return None

    def link_is_dead(self, link: str) -> bool:
        """Whether it is one of our upload links and can no longer be fetched. Foreign links count as alive."""
        parts = urllib.parse.urlsplit(link)
        if not parts.path.startswith(f"{FILES}/proxy/"):
            return False
        query = dict(urllib.parse.parse_qsl(parts.query))
        alive = self.state.links.plain_is_good("upload", parts.path, query)
        return not alive or self.find_upload(link) is None

    def _uploaded(self, call: Call, upload: Upload | None) -> Response:
        if upload is None:
            return not_found()
        return FileResponse(call, Content.of(upload.path.read_bytes()), upload.media_type, self._sent)

    def _sent(self, count: int) -> None:
        self.state.bytes_sent += count


class Side:
    """Handlers of one provider's API.

    Args:
        state: Tasks and money.
        files: Where results are served.
    """

    def __init__(self, state: SimulatorState, files: Files) -> None:
        self.state, self.files = state, files


def tos_expired() -> Answer:
    """What TOS says of a link that is dead."""
    ids = {"RequestId": secrets.token_hex(16), "HostId": secrets.token_hex(8)}
    return 403, {"Code": "AccessDenied", **ids, "Message": "Request has expired", "EC": "0003-00000000"}


def not_found() -> Response:
    """What an object store says about an unknown key."""
    xml = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
    return respond((404, xml))
