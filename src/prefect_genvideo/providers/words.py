"""Status words, as whole words: one table for all providers, to which a provider only adds.

A word is compared without case, separators and what it is said of: `IN_PROGRESS`, `in-progress` and `InProgress` are
one, and so are `failed` and `TASK_FAILED`.
Sources: the documents of Sudashui and SenseAudio; the gateway New API; Ark, Kling, Vidu, MiniMax, Jimeng, DashScope,
Zhipu, Veo, Runway, Luma, fal, Replicate, Azure and OpenAI, whose words gateways pass on as they come.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from prefect_genvideo.models import GenerationState

# Where a word may mean both, waiting is assumed: then no deadline runs.
_QUEUED = """
    queued queue queueing queuing in_queue enqueued pending waiting wait waiting_in_queue not_start not_started
    submitted submit submitting submission created creating accepted received registered requested scheduled assigned
    throttled prepare preparing prepared preprocessing provisioning allocating loading booting warming_up init
    initializing initialising initialized initialised new starting unstarted ready_to_start backlog on_queue todo
    已提交 排队中 排隊中 排队 排隊 等待中 待处理 待處理 未开始 未開始 准备中 準備中
"""
# `not_completed` and its kin look like an end and are none; what is being cancelled may still be finished, and billed.
_RUNNING = """
    running run in_progress progress progressing processing process in_process generating generate in_generation
    rendering started working active executing ongoing dreaming uploading downloading encoding transcoding
    postprocessing finalizing finalising saving not_completed not_complete not_finished not_done unfinished incomplete
    cancelling canceling
    处理中 處理中 生成中 进行中 進行中 运行中 執行中 执行中 渲染中
"""
# Harmless where it is wrong: without a link, a word of success ends nothing.
_SUCCEEDED = """
    succeeded success succeed successful successfully completed complete completion finished finish done ready
    succ successed generated processed rendered available all_done all_completed
    成功 已成功 已完成 完成 完了 生成成功 生成完成 处理成功 處理成功 处理完成 任务成功 任务完成 任務成功 任務完成
"""
# Cancelled and expired are ends without a video as well.
_FAILED = """
    failed failure fail error errored faulted exception crashed dead rejected reject refused denied declined invalid
    cancelled canceled cancel user_cancelled user_canceled cancelled_by_user aborted abort
    terminated stopped killed revoked deleted discarded interrupted
    expired expire timeout timed_out time_out
    nsfw moderated content_moderated request_moderated moderation_failed moderation_blocked audit_failed
    content_blocked content_filtered content_violation policy_violation
    失败 失敗 已失败 生成失败 生成失敗 处理失败 處理失敗 任务失败 任務失敗 出错 违规
    已取消 取消 已过期 已過期 过期 超时 已超时 超時 逾時 拒绝 已拒绝 已拒絕
    审核不通过 审核未通过 审核失败 審核不通過 審核未通過 審核失敗
"""

_SEPARATORS = re.compile(r"[\W_]+")
# Of enums that come with their type's name, e.g. Vertex's JOB_STATE_SUCCEEDED and Novita's TASK_STATUS_SUCCEED, and of
# events, e.g. `video_completed`. What a task is ready for is not said: it may be to start.
_PREFIX = re.compile(
    r"^(?:(?:job|task|video|generation|run)?(?:state|status)|(?:job|task|video|generation)(?!ready))(?=.)"
)


def normalised(word: str) -> str:
    """Return a status word without case, separators and what it is said of; empty for what holds no letter."""
    plain = _SEPARATORS.sub("", unicodedata.normalize("NFKC", word[:100]).lower())
    return _PREFIX.sub("", plain)


def _table() -> dict[str, GenerationState]:
    states: tuple[tuple[GenerationState, str], ...] = (
        ("queued", _QUEUED),
        ("running", _RUNNING),
        ("succeeded", _SUCCEEDED),
        ("failed", _FAILED),
    )
    return {normalised(word): state for state, words in states for word in words.split()}


STATES: Mapping[str, GenerationState] = _table()
"""Normalised word → state. Everything else says nothing by itself."""


def state_of(word: str, more: Mapping[str, GenerationState] | None = None) -> GenerationState | None:
    """Return the state that a status word names.

    Args:
        word: As it came.
        more: A provider's own words, normalised; they come first.

    Returns:
        The state, or None for a word nobody knows.
    """
    key = normalised(word)
    return (more or {}).get(key) or STATES.get(key)
