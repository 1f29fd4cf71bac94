"""Signs of refusal: what proves that a provider refused, wherever it stands in an answer and whatever its status is."""

from __future__ import annotations

import re
from typing import Any

from prefect_genvideo.providers.answers import as_flag, as_word, names
from prefect_genvideo.providers.evidence import keyed
from prefect_genvideo.providers.moderation import refused_for_content
from prefect_genvideo.providers.reasons import said_in
from prefect_genvideo.providers.words import state_of

MONEY = re.compile(
    r"billing (?:hard |soft )?limit|arrear|overdue|top[- ]?up|(?:quota|credits?) (?:is |are )?used up"
    r"|[余餘][额額]不足|(?:[额額]度|点数|點數|积分|積分)(?:不足|已?用完|已耗[尽盡])|欠[费費]|用[尽盡]|充值|儲值"
    r"|(?:insufficient|not enough|exhausted|exceeded?|no|out of)\W+(?:\w+\W+){0,2}(?:quota|balance|funds?|credits?)\b"
    r"|\b(?:quota|balance|funds?|credits?)\W+(?:\w+\W+){0,3}(?:insufficient|not enough|exhausted|exceeded|too low)",
    re.IGNORECASE,
)
"""An account that is exhausted. "Insufficient permissions" and a rate's quota are not meant."""
# Fields of codes, without case and separators, the most specific first.
_CODE_KEYS = ("refcode", "errorcode", "errcode", "code", "statuscode")
# Words of a slug that name a refusal, e.g. `invalid_request`, `fail_to_fetch_task`, `access_denied`.
_REFUSING_TOKENS = frozenset(
    names(
        "fail failed failure error invalid denied forbidden unauthorized unauthenticated unsupported exceeded"
        " insufficient exhausted limit limited rejected refused missing blocked sensitive violation unavailable bad"
        " expired disabled banned overdue incorrect illegal prohibited throttled"
        " busy full overloaded maintenance offline closed suspended reject deny unable"
    )
)
# Of these, what a fault inside is called as well.
_FAILING_TOKENS = frozenset(names("fail failed failure error"))
# Something broke, before or after the task was made: no refusal.
_BROKEN_TOKENS = frozenset(names("internal server gateway upstream unknown timeout"))
_REFUSING_PHRASES = re.compile(
    r"not_(?:found|exist|allowed|support|permitted|available|enough)|too_(?:many|large|long|big)|no_available"
)
_REFUSING_CHINESE = re.compile(
    "[错錯][误誤]|失[败敗]|[无無][效权權]|不支[持援]|不能|不足|拒[绝絕]|非法|超出|超[过過]|[过過][大长長]|太大|不存在|未找到|缺少"
    "|[违違][规規]|敏感|禁止|不合"
)
_NUMBER = re.compile(r"[0-9]{3,6}")
_FAULT = re.compile(r"5[0-9]{2}")
# Characters of a code; what is longer is prose, or garbage.
_LONGEST = 300
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_refusal(answer: Any) -> bool:
    """Whether an answer holds a positive sign that the provider refused. Its status is not looked at.

    `success: false`, an `error` object, and a code that names a refusal count, and so does any code of failure beside
    words of an exhausted account. Text alone does not: no machine is sure of a sentence, and a mistake is paid twice.
    Nor does an error whose code says that something broke inside: that may have been after the task was made.
    """
    if as_flag(keyed(answer).get("success")) is False or (_has_error(answer) and not _is_broken(answer)):
        return True
    codes = codes_of(answer)
    if any(map(is_refusing, codes)) or refused_for_content("", codes):
        return True
    return has_failed(answer) and any(map(MONEY.search, said_in(answer).texts))


def has_failed(answer: Any) -> bool:
    """Whether an answer says that something failed, whatever it was: an error object, or any code but a success."""
    return _has_error(answer) or not all(map(is_success, codes_of(answer)))


def _has_error(answer: Any) -> bool:
    """Whether there is an error object that says something; one whose code speaks of success is none."""
    error = keyed(keyed(answer).get("error"))
    return not is_success(as_word(error.get("code")) or as_word(error.get("message")))


def _is_broken(answer: Any) -> bool:
    """Whether an error's code speaks of a fault inside, and of nothing else: `unknown_error`, but no unknown field."""
    error = keyed(keyed(answer).get("error"))
    words = [word for name in ("code", "type", "status") if (word := as_word(error.get(name)))]
    named = next((word[:_LONGEST] for word in words if not word.isdigit()), "")
    if words and not named:
        return _FAULT.fullmatch(words[0]) is not None
    tokens = _tokens(named) - _FAILING_TOKENS - {""}
    broken, rest = tokens & _BROKEN_TOKENS, tokens - _BROKEN_TOKENS
    if not broken or rest & _REFUSING_TOKENS or _phrase_in(named):
        return False
    return broken != {"unknown"} or not rest


def codes_of(answer: Any) -> list[str]:
    """Return every code of an answer and of its error, the most specific first."""
    top = keyed(answer)
    places = (top, keyed(top.get("error")), keyed(top.get("baseresp")))
    return [code for key in _CODE_KEYS for place in places if (code := as_word(place.get(key)))]


def is_success(code: str) -> bool:
    """Whether a code, which may be missing, speaks of success."""
    return code.lower() in ("", "0", "200", "ok") or state_of(code) == "succeeded"


def is_refusing(code: str) -> bool:
    """Whether a code names a refusal: one of the client's faults by number, or a word for one, in slug or prose."""
    if _NUMBER.fullmatch(code):
        return code[:2] in ("40", "41", "42") and len(code) in (3, 6) and code not in ("408", "425")
    if is_success(code) or len(code) > _LONGEST:
        return False
    tokens = _tokens(code)
    if tokens & _BROKEN_TOKENS:
        return False
    return bool(tokens & _REFUSING_TOKENS or _phrase_in(code) or _REFUSING_CHINESE.search(code))


def _phrase_in(code: str) -> bool:
    return _REFUSING_PHRASES.search(re.sub(r"[^a-z]+", "_", slug_of(code))) is not None


def _tokens(code: str) -> set[str]:
    return set(re.split(r"[^a-z]+", slug_of(code)))


def slug_of(code: str) -> str:
    """Return a code in lower case, its words joined by `_`."""
    return _CAMEL.sub("_", code).lower().replace("-", "_")
