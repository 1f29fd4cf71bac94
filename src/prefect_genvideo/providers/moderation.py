"""Refusals for what a video shows, told from all others: by code first, then by words in English and Chinese.

Such a refusal must be known, because no other provider may be asked to make the same content after all. In doubt an
answer counts as one: that costs an alternative, never a video.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Numbers, with who uses them. They count as codes only, never inside a sentence.
_NUMBERS = frozenset(
    {
        # Jimeng (Volcengine visual API), business codes: image, text and blocklist checks before and after
        *("50411", "50412", "50413", "50511", "50512", "50518", "50519", "50521"),
        # MiniMax video: sensitive input, sensitive output
        *("1026", "1027"),
        # Kling and Zhipu: content security policy
        "1301",
        # PixVerse: moderation of an image, of text, image or video before the start
        *("500054", "500063"),
        # SenseAudio: image with sensitive or illegal content
        "400501",
    }
)

# Codes without their separators, in lower case; each stands for a family.
_CODES = re.compile(
    "|".join(
        (
            # Volcengine Ark, BytePlus: {Input,Output}{Text,Image,Video,Audio}SensitiveContentDetected[.…]
            "sensitivecontentdetected",
            "(?:text|image|video|audio)riskdetection",
            "privacyinformation",
            # OpenAI, fal, gateways: content_policy_violation; Azure: ResponsibleAIPolicyViolation;
            # Vidu: TaskPromptPolicyViolation, CreationPolicyViolation
            "policyviolation",
            # Vidu
            "audit(?:submitillegal|notpass|failed)",
            # DashScope
            "datainspectionfailed",
            "ipinfringementsuspect",
            # Azure, Moonshot: content_filter; OpenAI video: moderation_blocked, input_moderation
            "contentfilter",
            "(?:content|input|output|request|prompt|image|video|text)moderat(?:ion|ed)",
            "moderation(?:blocked|failed|rejected|notpass)",
            # Sora: its guard over prompts
            "sentinelblock",
            # The gateway itself (New API)
            "sensitivewordsdetected",
            "promptblocked",
            "violationfee",
            # Gemini, Veo: finish and block reasons; Runway: SAFETY.INPUT.…
            "safety(?:input|output|text|image|video)",
            "(?:image|video|prompt)safety",
            "prohibitedcontent",
            "^(?:blocklist|spii|recitation)$",
            "raimediafiltered",
            # Jimeng in words, Kling's gateways, Tencent, DeepSeek
            "risknotpass",
            "riskcontrol",
            "(?:text|image|video)illegaldetected",
            "contentexistsrisk",
            # ContentSecurityDetectionError is a fault of the check itself
            "contentsecurity(?!detectionerror)",
            "nsfw",
            # Faces
            "contain(?:s|ing)?(?:real)?(?:human)?(?:face|person)",
            "real(?:person|human)",
        )
    )
)

# Phrases that hold a telling word and are innocent. They are taken out before the words are looked for.
_INNOCENT = re.compile(
    "|".join(
        (
            r"(?:case|time|context|region|locale|latency|delay|price)[- ]sensitive",
            r"moderation (?:service|server|api|system|queue|check)?\s*(?:is |was )?(?:temporarily |currently )?"
            r"(?:unavailable|busy|overloaded|timed? ?out|timeout|pending|in progress|not available|unreachable)",
            r"(?:constraint|key|access|protocol|schema|syntax|integrity|segmentation|rate limit)\s+violations?",
            r"violat\w+ (?:unique|foreign|primary|not[- ]null|check)\b",
            r"(?:ip|method|access|address|cross-origin|host)(?: is| are)? prohibited",
            r"(?:thread|type|memory)[- ]safety",
            r"(?:ip|account|user|network) risk control|high[- ]risk (?:ip|region|country|account|user)",
            r"unsafe (?:url|redirect|path|character|host|port|legacy|method)",
            r"\bno (?:human )?faces?\b",
            r"(?:not|cannot|unable to|failed to|fail to)\s+(?:be\s+)?(?:detect|find|recogni[sz]e|locate|extract)\w*"
            r"(?: an?| any| the)?(?: human| valid)? faces?",
            r"faces? (?:swap|restor|enhanc|detect|fusion|landmark|recogni|is too|are too|too|not (?:detect|found)|"
            r"(?:is |was )?(?:obstruct|occlud|block|blur|hidden))\w*(?: \w+)?",
            r"大小写敏感|(?:时间|延迟|上下文)敏感|(?:参数|格式|尺寸|比例|时长|大小)(?:不合规|违规)",
            r"(?:正在|等待|待|人工|实名|资质|账号|账户|企业)审核(?:中)?|审核(?:中|服务|系统|接口|超时|排队|队列|繁忙)",
            r"账[号户][^,。;,;]{0,4}风控",
            r"(?:未|没有|没|无法|不能|未能)(?:检测|识别|找|提取)(?:不)?(?:到|出)?(?:有效|清晰)?(?:的)?(?:人脸|面部|脸部)",
            r"无人脸|(?:人脸|面部)(?:检测|识别)(?:服务|接口|失败|超时|异常)|人脸(?:过小|太小|模糊|被?遮挡|不清晰|不完整)|换脸",
            r"暴力破解|不安全的?(?:连接|链接|请求|协议|地址)",
        )
    ),
    re.IGNORECASE,
)

# Words of a refusal, each with who says so where that is one vendor.
_WORDS = re.compile(
    "|".join(
        (
            # Azure, OpenAI, Ark, MiniMax, Replicate: "… may contain sensitive information", "flagged as sensitive"
            r"\bsensitive\b|\bmoderat(?:ion|ed|or)\b|\bflagged (?:as|by|for)\b|\bcensor",
            r"\b(?:content|management|usage|use|safety|community|platform|copyright|privacy|our)\W+polic(?:y|ies)\b",
            r"\bviolat(?:e|es|ed|ing|ion|ions)\b|\b(?:usage|community|content|safety|ai|our) guidelines?\b",
            r"\bprohibited\b|\bdisallowed (?:content|by)|\bguardrails?\b",
            r"\binappropriate\b|\bnsfw\b|not safe for work|\bporn|\bsexual|\bnud(?:e|ity)\b|\berotic|\bgor[ey]\b",
            r"\b(?:adult|explicit) content|\bunderage|\bminors\b|\bdeep-?fake|\bimpersonat",
            r"\bviolen(?:t|ce)\b|self[- ]harm|\bhate(?:ful)?\b|\bterroris|\bextremis|\bcsam\b|\bchild abuse",
            r"\boffensive\b|\bharmful\b|\bobjectionable\b|\bunsafe\b|\bpolitic",
            # OpenAI: "rejected by the safety system"; Veo: "Responsible AI", "usage guidelines"
            r"\bsafety\b|\bresponsible ai\b|\brai\b|\bsupport codes?\W{1,3}[0-9]{8}",
            r"\bcontent (?:filter|security|review|audit|inspection|restriction)|third[- ]party (?:content|likeness)",
            r"\b(?:prompt|content|text|image|video|input|request|output)s? (?:(?:was|is|were|are|has been) )?flagged\b",
            r"\b(?:prompt|content|text|image|video)s? risk\b|\bagainst (?:our|the) (?:terms|rules)\b",
            r"\bcopyright|\btrademark|\bintellectual property|\binfring|\blikeness|\bcelebrit|\bpublic figure",
            # Seedance, Sudashui: "Real human faces are not supported."
            r"\bfaces?\b|\breal[- ]?(?:human|person|people)|\bidentifiable (?:person|people)",
            # Kling: "Failure to pass the risk control system"; Jimeng: "Text Risk Not Pass"; Moonshot: "high risk"
            r"\brisk control\b|\brisk not pass|\bhigh[- ]risk\b|\bcontent exists risk",
            r"not pass\w* (?:the |our )?(?:\w+ ){0,2}(?:review|audit|inspection)",
            r"\b(?:review|audit) (?:not pass|fail|reject)",
            # DashScope: "inappropriate content"; Tencent: "illegal detected"; Vidu: "submit is illegal"
            r"\billegal (?:content|information|activit|material|detected)|\bsubmit is illegal|\bgreen[- ]?net\b|绿网",
            r"\b(?:content|prompt|text|video)s? (?:is|are|was) illegal|\bprompt (?:was |is |has been )?blocked\b",
            r"\b(?:banned|forbidden|blocked) (?:word|term|content|prompt)",
            # PixVerse: "The input video is not compliant"
            r"\b(?:image|video|text|prompt|content|material)s?(?: is| are)? (?:not |non-?)compliant",
            r"敏感|违规|违法|违禁|不合规|未合规|审核|审查|安审|机审",
            r"色情|低俗|淫秽|裸露|裸体|性暗示|鉴黄|暴力|暴恐|血腥|恐怖|赌博|毒品|涉黄|涉政|涉暴|涉恐|政治|领导人|未成年",
            r"人脸|面部|脸部|真人|真实人物|肖像|名人|明星|公众人物|版权|侵权|知识产权|商标",
            r"风控|内容安全|安全(?:检测|检查|过滤|规范|风险|限制|策略)|不安全|不良信息|不当内容|不适宜|有害",
            r"内容[^,。;]{0,6}(?:风险|不符合)|(?:不合法|非法)的?(?:内容|信息|图片|文本|素材)",
            r"社区规范|使用政策|内容政策|使用规范|拦截词|屏蔽词|禁止生成|不支持生成[该此这]|内容[^,。;]{0,6}(?:拦截|屏蔽)|人像|不雅|违反[^,。;]{0,12}(?:政策|规定|规则|规范|条款|法|准则|协议)",
        )
    ),
    re.IGNORECASE,
)

# A model's name says nothing of the content: a hyphenated word with a digit or of four parts, or one after "model".
_MODEL_NAMES = re.compile(
    r"(?<![A-Za-z0-9])(?:(?=[A-Za-z0-9._/-]*\d)[A-Za-z0-9.]+(?:[-/][A-Za-z0-9._]+)+|[A-Za-z0-9.]+(?:-[A-Za-z0-9._]+){3,})"
    r"|(?<=model )[A-Za-z0-9._/]+(?:-[A-Za-z0-9._/]+)+|(?<=模型)[\s:「“\"'`]*[A-Za-z0-9._/]+(?:-[A-Za-z0-9._/]+)+"
)
# What may be a code inside a sentence.
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_.]{5,}")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
# Characters of an answer, and of a code, that are looked through.
_LIMIT = 4000
_LONGEST_CODE = 200


def refused_for_content(text: str, codes: Iterable[str] = ()) -> bool:
    """Whether an answer refuses a request, or ends a task, for what the video shows or would show.

    Args:
        text: Everything that was said, in English or Chinese.
        codes: Codes that came with it.

    Returns:
        True also where that is only likely.
    """
    named = [code.strip()[:_LONGEST_CODE] for code in codes]
    if any(code in _NUMBERS or _is_code(code) for code in named):
        return True
    plain = _MODEL_NAMES.sub(" ", " ".join((text[:_LIMIT], *named)))
    if any(map(_is_code, _TOKEN.findall(plain))):
        return True
    return _WORDS.search(_INNOCENT.sub(" ", plain.replace("_", " "))) is not None


def _is_code(word: str) -> bool:
    return _CODES.search(_SEPARATORS.sub("", word.lower())) is not None
