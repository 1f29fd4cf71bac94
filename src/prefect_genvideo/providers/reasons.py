"""What an answer says in words, wherever it stands, as a sentence: never raw JSON, never a word of success."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prefect_genvideo.providers.answers import as_link, as_list, as_object, as_text, as_word, names, parse_json
from prefect_genvideo.providers.evidence import keyed, opened, walk
from prefect_genvideo.providers.words import state_of

# Fields that hold an error's text, then those that hold any; the most telling first.
_ERROR_KEYS = names(
    "failreason failurereason failedreason failmsg failmessage failinfo errormessage errormsg errmsg errmessage error"
    " errors errordetail errorinfo errordescription errorreason taskerror err exception cause failure failuremessage"
    " raimediafilteredreasons"
)
_TEXT_KEYS = (
    *_ERROR_KEYS,
    *names("taskstatusmsg statusmsg statusmessage statusreason statusdetail statusdetails statusdescription"),
    *names("message msg detail details reason description desc remark"),
)
_OF_ERRORS = frozenset(_ERROR_KEYS)
# On failure, gateways write the error's text where the link would stand.
_LINK_KEYS = ("resulturl", "url", "videourl")
_CODE_KEYS = ("errcode", "errorcode", "refcode", "failcode", "statuscode", "code", "blockreason")
# Fields that are looked into.
_SEARCHED = frozenset((*_TEXT_KEYS, "data", "result", "response", "output", "task", "taskresult", "baseresp"))
# What tells nothing where something else is said.
_GENERIC = re.compile(
    r"(?:(?:video )?(?:task|generation) failed|(?:unknown|internal|system) error|unknown|error|failed|failure)[.!]?"
    r"|(?:任务|生成|视频生成)?失败[。!]?|(?:未知|系统)错误[。!]?",
    re.IGNORECASE,
)
_NOTHING = frozenset(("", "none", "null", "nil", "undefined", "n/a", "-", "{}", "[]", "0", "200", "true", "false"))
_NO_WORDS = re.compile(r"\{|/\S*$|(?:data|blob):|v1/", re.IGNORECASE)
_SUCCESS = re.compile(
    r"(?:操作|请求|查询|提交|获取)成功[。!]?|(?:request|query|operation|task) (?:was )?succe\w+\.?", re.I
)
# Of no use to readers: a request's id, an echo of the (masked) key. What is in front of the id is looked at once a run
# of blanks and commas, and blanks are single by then: tried at each of many, a line of them would take hours.
_REQUEST_ID = re.compile(
    r"(?<![\s,;])[\s,;]*[(\[（【]?\s*(?:ark|csd)?request[ _-]?id\s*[:：=]\s*[\w-]{2,80}\s*[)\]）】]?[\s.]*",
    re.IGNORECASE,
)
_KEY_ECHO = re.compile(r"^\[[^\]\s]{0,80}\*{2}[^\]\s]{0,80}\]\s*")
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,300})</title>", re.IGNORECASE)
_TAGS = re.compile(r"<[^>]{0,500}>")
# JSON that is cut, or a Python dict's text: the message can still be found.
_MESSAGE_INSIDE = re.compile(
    r"""["'](?:message|msg|error_message|detail|error)["']\s*:\s*(?P<quote>["'])(?P<text>(?:(?!(?P=quote)).){3,500})"""
)
_SENTENCE = re.compile(r"\S\s+\S|[\u4e00-\u9fff]{2,}")
# Characters of a text, and levels of JSON inside texts, that are read.
_MAX_TEXT = 8000
_MAX_NESTED = 4


@dataclass
class Said:
    """Everything that an answer says.

    Attributes:
        texts: For people, the outer before the inner.
        codes: For machines.
        late: Texts where a link should stand.
        is_error: Whether one of the texts stands where an error's does, rather than any message.
    """

    texts: list[str] = field(default_factory=list[str])
    codes: list[str] = field(default_factory=list[str])
    late: list[str] = field(default_factory=list[str])
    is_error: bool = False

    def reason(self) -> str:
        """Return the most telling words: a sentence before a slug, a specific one before a general; empty if none."""
        # Some write prose where a code belongs.
        sentences = [text for text in (*self.texts, *self.late, *self.codes) if _SENTENCE.search(text)]
        slugs = [text for text in (*self.texts, *self.codes, *self.late) if text not in sentences]
        ranked = [*sentences, *slugs]
        telling = (text for text in ranked if not _GENERIC.fullmatch(text))
        return next(telling, next(iter(ranked), ""))


def said_in(*answers: Any) -> Said:
    """Collect what is said in answers, those first in line before the others.

    Args:
        answers: Any JSON values, e.g. a task's object and the whole answer around it.
    """
    said = Said()
    for answer in answers:
        _collect(answer, said, _MAX_NESTED)
    return said


def _plain_words(text: str) -> str:
    """Return a text without a request's id, an echoed key and markup."""
    if text.lstrip()[:1] == "<":
        title = _TITLE.search(text)
        text = title[1] if title else _TAGS.sub(" ", text)
    text = _REQUEST_ID.sub(" ", " ".join(text.split()))
    return " ".join(_KEY_ECHO.sub("", text).split()).strip(" ,;:")


def _collect(answer: Any, said: Said, nested: int) -> None:
    for node in walk(answer):
        fields = keyed(node.value)
        if not fields or not set(node.path) <= _SEARCHED:
            continue
        of_error = not _OF_ERRORS.isdisjoint(node.path)
        for key in _TEXT_KEYS:
            before = len(said.texts)
            for text in _texts(fields.get(key)):
                _take(text, said.texts, said, nested)
            said.is_error |= len(said.texts) > before and (of_error or key in _OF_ERRORS)
        for key in _LINK_KEYS:
            _take(as_text(fields.get(key)), said.late, said, 0)
        codes = (*_CODE_KEYS, "type", "reason") if of_error else _CODE_KEYS
        said.codes += _usable(as_word(fields.get(key)) for key in codes)


def _texts(value: Any) -> Iterator[str]:
    yield as_text(value)
    yield from (as_text(item) for item in as_list(value)[:5])


def _take(text: str, into: list[str], said: Said, nested: int) -> None:
    """Keep a text; where JSON stands in it, what that says instead."""
    text = text[:_MAX_TEXT]
    start = text.find("{")
    if start < 0:
        into += _usable([_plain_words(text)])
        return
    if isinstance(opened(text), dict):
        return  # the walk goes into it by itself
    before = len(said.texts)
    inner = parse_json(text[start : text.rfind("}") + 1].encode("utf-8", "replace"))
    if as_object(inner) and nested:
        _collect(inner, said, nested - 1)
    if len(said.texts) == before:
        found = _MESSAGE_INSIDE.search(text)
        into += _usable([_plain_words(found["text"] if found else text[:start])])


def _usable(texts: Iterable[str]) -> list[str]:
    """What is said at all: no link or path, no JSON, no word of success, no placeholder."""
    kept = (text for text in texts if text.lower() not in _NOTHING and not _NO_WORDS.match(text) and not as_link(text))
    said = (text for text in kept if state_of(text) in (None, "failed") and not _SUCCESS.fullmatch(text))
    return [text for text in said if isinstance(opened(text), str)]
