"""The link of a finished video, wherever an answer puts it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from prefect_genvideo.providers.answers import JsonObject, as_list, as_object, as_text, is_link, names, url_parts
from prefect_genvideo.providers.evidence import Node, Task, walk

# Fields that hold a result's link. Any other field counts when its link names a video file.
_LINK_KEYS = frozenset(
    names(
        "url urls uri uris link links href src videourl videourls videouri videolink videos video resulturl resulturls"
        " resultvideourl outputurl outputurls output outputs result results downloadurl downloadurls fileurl playurl"
        " mediaurl mp4url mp4 remixurl volcesvideourl publicurl signedurl originurl originalurl failreason data content"
        " nowatermarkurl urlwithoutwatermark finalurl ossurl cdnurl storageurl asseturl resource resourceurl urllist"
        " unsignedurls sample contenturl"
    )
)
# What names a video names its link, unless it is one of those below: `final_video_url`, `video_result`.
_OF_A_VIDEO = re.compile("video")
# Fields whose links are no result: pictures of it, what was sent, other media. Parts of names are enough.
_NO_RESULT = re.compile(
    "cover|thumb|poster|image|img|frame|(?<!no)(?<!without)watermark|logo|audio|music|sound|callback|webhook|avatar|icon"
    "|doc|preview|snapshot|gif|subtitle|^ref(?:url|video)|reference|(?<!re)sourceurl|sourcevideo|input|request|prompt|propert|param|payload"
    "|usage|material|(?:status|query|polling|poll|page|share|detail|help|self|cancel|task)ur[il]"
)
# Ends of paths.
_VIDEO_FILE = re.compile(r"\.(?:mp4|mov|webm|m4v|mkv)$", re.IGNORECASE)
_OTHER_FILE = re.compile(
    r"\.(?:jpe?g|png|webp|gif|bmp|svg|heic|tiff?|mp3|wav|m4a|aac|json|html?|txt|srt|vtt|zip)$", re.IGNORECASE
)
# Kinds of a result that is no video, and where they stand.
_OTHER_MEDIA = re.compile(r"(?:image|picture|photo|cover|thumbnail|audio|text|gif)(?:s|_url|/\S+)?", re.IGNORECASE)
_TYPE_KEYS = ("type", "media_type", "content_type", "mime_type", "mimeType", "kind")
# A link inside a text for people, and the fields that hold such texts.
_INSIDE_TEXT = re.compile(r"https?://[^\s\"'<>()\[\]{}\\，。；！？、（）【】》」]{1,2000}", re.IGNORECASE)
_TEXT_KEYS = frozenset(("content", "text", "output", "result", "message"))
# Between two links in one text; looked at once a run, for a run may be as long as the text.
_NEXT_LINK = re.compile(r"(?<![\s,;|])[\s,;|]+(?=https?://)", re.IGNORECASE)
# A link in brackets, as Markdown or a list that was printed.
_IN_BRACKETS = re.compile(r"(?:!?\[[^\]]{0,100}\])?\((\S+)\)|\[(\S+)\]")
# What people paste along and no link begins or ends with: quotes, marks that take no room.
_AROUND = "<>\"'`\u200b\u200c\u200d\u2060\ufeff "
# Path of the gateway's own proxy for a task's video.
_CONTENT_ROUTE = re.compile(r"/v1/videos?/(?:generations/)?([^/?#]+)/content/?")
_COVER_KEYS = ("coverurl", "cover", "coverimageurl", "thumbnailurl", "thumbnail", "posterurl", "poster")
# What tells the better of two links: the lesser, item by item.
_Rank = tuple[bool, bool, bool, int, int]
# Characters of a text that is searched for links.
_MAX_TEXT = 20_000


def resolved(value: Any, base_url: str) -> str | None:
    """Return the http(s) link that a value holds, made absolute; None when it holds none.

    Args:
        value: A link, a path of the API's own host, or several links of which the first counts.
        base_url: What a path is relative to.

    Returns:
        The link as it came where it is whole. Blanks in a file's name are written as `%20`.
    """
    text = _unwrapped(as_text(value))
    if not text or len(text) > _MAX_TEXT:
        return None
    if text.startswith("//"):
        text = f"{urlsplit(base_url).scheme}:{text}"
    elif re.match(r"/[^\s/]\S*$|v1/\S+$", text):
        text = f"{base_url}/{text.lstrip('/')}"
    text = _NEXT_LINK.split(text)[0]
    if is_link(text):
        return text
    quoted = text.replace(" ", "%20")
    return quoted if " " in text and is_link(quoted) and _VIDEO_FILE.search(urlsplit(quoted).path) else None


def _unwrapped(text: str) -> str:
    """A link without what it was written in: quotes, brackets, a second escaping as JSON, HTML or part of a URL."""
    text = text.strip(_AROUND)
    if found := _IN_BRACKETS.fullmatch(text):
        text = (found[1] or found[2]).strip(_AROUND)
    if re.match("https?%3a%2f%2f", text, re.IGNORECASE):
        text = unquote(text)
    return text.replace("\\/", "/").replace("&amp;", "&").rstrip(",;")


@dataclass(frozen=True)
class LinkPlaces:
    """How one provider's links are found.

    Attributes:
        base_url: The API's address, to which paths are relative.
        task_id: Our task.
        preferred: Places that the provider documents, the best first: the fields' names from the task's object on.
    """

    base_url: str
    task_id: str
    preferred: tuple[tuple[str, ...], ...] = ()

    def video(self, task: Task) -> str | None:
        """Return the task's video link: direct before the API's own proxy, documented places before others."""
        ranked = list(self._candidates(task.row)) or list(self._candidates(task.beside))
        return min(ranked, key=lambda each: each[0])[1] if ranked else None

    def cover(self, task: Task) -> str | None:
        """Return the link of a cover picture."""
        nodes = [node for node in walk(task.row) if node.path[-1:] and node.path[-1] in _COVER_KEYS]
        return next(filter(None, (resolved(node.value, self.base_url) for node in nodes)), None)

    def _candidates(self, row: Mapping[str, Any]) -> Iterator[tuple[_Rank, str]]:
        for node, is_other in _texts(_without_echo(dict(row))):
            for text in _links_of(node):
                link = resolved(text, self.base_url)
                path = urlsplit(link).path if link else ""
                if link and not _OTHER_FILE.search(path) and (_is_place(node) or _VIDEO_FILE.search(path)):
                    yield from (((is_other, *self._rank(node, own)), own) for own in self._own(link))

    def _rank(self, node: Node, link: str) -> tuple[bool, bool, int, int]:
        place = self.preferred.index(node.path) if node.path in self.preferred else len(self.preferred)
        return _is_local(link, self.base_url), _content_id(link) is not None, place, len(node.path)

    def _own(self, link: str) -> Iterator[str]:
        """A link as it is to be fetched.

        The gateway knows itself by other names, too, e.g. by its default `http://localhost:3000`. Under its own name,
        another task's video is none of ours: the key would fetch it.
        """
        named = _content_id(link)
        at_home = urlsplit(link).netloc == urlsplit(self.base_url).netloc
        if named == self.task_id and not at_home:
            yield content_url(self.base_url, self.task_id)
        elif named in (None, self.task_id) or not at_home:
            yield link


def content_url(base_url: str, task_id: str) -> str:
    """Return where the gateway itself serves a task's video.

    Args:
        base_url: The API's address.
        task_id: The task.
    """
    return f"{base_url}/v1/videos/{quote(task_id, safe='')}/content"


def _content_id(link: str) -> str | None:
    found = _CONTENT_ROUTE.search(urlsplit(link).path)
    return unquote(found[1]) if found else None


def _is_local(link: str, base_url: str) -> bool:
    """Whether a link leads into somebody's private network, which is not where the API is."""
    host = urlsplit(link).hostname or ""
    if host == urlsplit(base_url).hostname:
        return False
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _texts(row: JsonObject) -> Iterator[tuple[Node, bool]]:
    """Texts that may hold a result's link, and whether what holds them says that it is e.g. a picture."""
    for node in walk(row):
        # Most texts of an answer are words and ids.
        is_link = isinstance(node.value, str) and ("/" in node.value or "%" in node.value)
        if is_link and not any(_NO_RESULT.search(key) for key in node.path):
            yield node, _is_other_media(node.holder)


def _is_other_media(value: Any) -> bool:
    fields = as_object(value)
    return any(_OTHER_MEDIA.fullmatch(as_text(fields.get(name))) is not None for name in _TYPE_KEYS)


def _is_place(node: Node) -> bool:
    return bool(node.path) and (node.path[-1] in _LINK_KEYS or _OF_A_VIDEO.search(node.path[-1]) is not None)


def _links_of(node: Node) -> Iterator[str]:
    """The value itself, or the links of video files inside a text for people, which may stand where a link should.

    A text about a failure is none of these: it names what went wrong.
    """
    yield node.value
    if node.path and (node.path[-1] in _TEXT_KEYS or (_is_place(node) and node.path[-1] != "failreason")):
        for found in _INSIDE_TEXT.finditer(node.value[:_MAX_TEXT]):
            if _VIDEO_FILE.search(url_parts(found[0].rstrip(".,;!")).path):
                yield found[0].rstrip(".,;!")


def _without_echo(row: dict[str, Any]) -> dict[str, Any]:
    """The row without the request's content, which some APIs repeat: a list of typed items, videos among them."""

    def echoed(value: Any) -> bool:
        return any("type" in item or "role" in item for item in map(as_object, as_list(value)))

    return {name: value for name, value in row.items() if not (name.lower() == "content" and echoed(value))}
