"""Providers of generated videos: what each one's HTTP API is asked, what its answers mean, and how to find one."""

from prefect_genvideo.providers.account import checked_address, checked_key
from prefect_genvideo.providers.ark.client import ArkClient
from prefect_genvideo.providers.ark.tasks import TaskPage
from prefect_genvideo.providers.assets import not_links
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.classify import CREATED_WITHOUT_ID, Facts, Row
from prefect_genvideo.providers.http import NOT_SENT, Reply
from prefect_genvideo.providers.limits import ModelFacts, ModelLimits, ModelRules, read_model_rules
from prefect_genvideo.providers.lost import FoundCreate, LostCreate
from prefect_genvideo.providers.money import (
    AccountLog,
    Balance,
    ListedPrice,
    LogRow,
    NotTold,
    PriceList,
    Site,
    TaskMoney,
    ToldClip,
    ToldCost,
)
from prefect_genvideo.providers.readings import Manners
from prefect_genvideo.providers.registry import (
    ENTRY_POINT_GROUP,
    get_provider,
    load_plugin,
    plugins,
    provider_names,
)
from prefect_genvideo.providers.rules import Rule
from prefect_genvideo.providers.senseaudio.client import SenseAudioClient
from prefect_genvideo.providers.sudashui.client import SudashuiClient
from prefect_genvideo.providers.video_stream import VideoStream

__all__ = [
    "CREATED_WITHOUT_ID",
    "ENTRY_POINT_GROUP",
    "NOT_SENT",
    "AccountLog",
    "ArkClient",
    "Balance",
    "Facts",
    "FoundCreate",
    "ListedPrice",
    "LogRow",
    "LostCreate",
    "Manners",
    "ModelFacts",
    "ModelLimits",
    "ModelRules",
    "NotTold",
    "PriceList",
    "Reply",
    "Row",
    "Rule",
    "SenseAudioClient",
    "Site",
    "SudashuiClient",
    "TaskMoney",
    "TaskPage",
    "ToldClip",
    "ToldCost",
    "VideoClient",
    "VideoStream",
    "checked_address",
    "checked_key",
    "get_provider",
    "load_plugin",
    "not_links",
    "plugins",
    "provider_names",
    "read_model_rules",
]
