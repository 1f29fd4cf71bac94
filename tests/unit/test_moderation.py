"""Refusals for content are seen, in every vendor's form; innocent errors are not taken for them."""

from __future__ import annotations

import pytest

from prefect_genvideo.providers.moderation import refused_for_content

REFUSALS = [
    # Volcengine Ark, BytePlus
    "InputTextSensitiveContentDetected",
    "OutputVideoSensitiveContentDetected.PolicyViolation",
    "InputImageSensitiveContentDetected.PrivacyInformation",
    "InputTextRiskDetection",
    "The request failed because the output video may contain sensitive information. Request id: 0217",
    "The request failed because the input image may contain real person.",
    "The request failed because the output video may be related to copyright restrictions.",
    # Jimeng
    "Pre Img Risk Not Pass",
    "Post Text Risk Not Pass",
    "输入图片前审核未通过",
    "图片审核不通过，请更换后重试",
    # MiniMax
    "video description involves sensitive content",
    "input new_sensitive",
    "生成视频涉及敏感内容",
    # Vidu
    "AuditSubmitIllegal",
    "CreationPolicyViolation",
    "TaskPromptPolicyViolation: prompt policy violation",
    "Prompt 触发安审风控",
    "PhotoAuditNotPass",
    # Kling
    "Failure to pass the risk control system",
    "MODEL_RISK_CONTROL_REJECTED",
    "触发平台内容安全策略",
    # Azure, OpenAI, fal, Replicate
    "ResponsibleAIPolicyViolation",
    "content_policy_violation",
    "content_filter",
    "moderation_blocked",
    "生成失败：input_moderation",
    "Your request was rejected by the safety system.",
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. content_filter",
    "The input or output was flagged as sensitive. (E005)",
    "NSFW content detected",
    # Veo, Gemini
    "This prompt contains words that violate Vertex AI's usage guidelines.",
    "We encountered an issue with the audio: blocked by your current safety settings",
    "raiMediaFilteredReasons",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    # Runway, Tencent, DeepSeek, Moonshot, PixVerse
    "SAFETY.INPUT.TEXT",
    "OperationDenied.TextIllegalDetected",
    "Content Exists Risk",
    "The request was rejected because it was considered high risk",
    "The input video is not compliant, please re-enter",
    # DashScope
    "DataInspectionFailed",
    "Input or output data may contain inappropriate content.",
    "IPInfringementSuspect",
    # Sudashui, SenseAudio, the gateway
    "Real human faces are not supported.",
    "检测到参考素材包含人脸",
    "暂不支持真人参考图",
    "图片内容包含敏感或违规信息",
    "内容审核未通过",
    "sensitive_words_detected",
    "user sensitive words detected: xx",
    "request blocked by the provider's content filter",
    "涉及版权",
    "提示词违反了平台的使用规范",
    "系统检测到输入或生成内容可能包含不安全或敏感内容",
    "Faces of real people",
    "内容被平台拦截",
    "输入内容违反平台规则",
    "不支持生成该内容",
    "人像权限校验失败，请上传授权",
    "含有不雅内容",
    # Sora and its gateways
    "sentinel_block",
    "This prompt was flagged",
    "Request blocked due to content restrictions",
    "It is similar to third-party content",
    "against our terms of use",
    "This content violates our usage policies.",
    "sd-2-720p: Real human faces are not supported.",
    "Veo could not generate videos based on the prompt provided. Support codes: 58061214",
    "This content may violate our guardrails concerning similarity to third-party content.",
    "Prompt blocked",
    "The response was filtered due to Azure OpenAI's content management policy.",
    "input content audit failed",
    "Input data is suspected of being involved in IP infringement.",
    "violation_fee.grok.csam",
    "FailedOperation.ImageAuditFailed",
    "Request Moderated",
    "图片含有真人面部信息",
    "内容不符合平台规范",
    "输入图片可能包含真实人物",
    "检测到不合法内容",
    "触发安全限制",
]

INNOCENT = [
    # names of models
    "分组 default 下模型 sd-api-2-no-face-720p 无可用渠道（distributor）",
    "No available channel for model bf-sdas-2.0-no-face-fast under group default",
    "model 'face-swap-pro-1' not found",
    "doubao-seedance-2-0-real-human-260128 is not open",
    # parameters
    "duration must be from 4 to 15 seconds.",
    "metadata.payload.aspectRatio must be one of 1:1, 3:4, 4:3, 9:16, 16:9, 21:9, adaptive.",
    "Model names are case-sensitive",
    "参数区分大小写敏感",
    "Image pixel is invalid",
    "face_swap is not offered for this model",
    "please follow the integration guidelines",
    "disallowed host",
    "this feature is flagged off",
    "参数不合规：比例",
    "未检测到面部",
    "requests from a high-risk region are not served",
    "Illegal base64 data at input byte 4",
    "illegal argument: duration",
    "No face detected in the image",
    "Could not detect a face in the reference image",
    "未检测到人脸，请更换图片",
    "人脸检测失败",
    "input face detection failed, please upload again",
    "the face is too small",
    "图片链接无效",
    "不支持的视频时长",
    "模型不支持所需的功能",
    # money, keys, load
    "余额不足",
    "该令牌额度已用尽",
    "Insufficient Balance",
    "insufficient_user_quota",
    "无效的令牌",
    "账户触发风控，请联系客服",
    "当前分组上游负载已饱和，请稍后再试",
    "请求过于频繁，请等待 30 秒后再试",
    "rate limit violation: 10 requests per minute",
    "IP prohibited",
    "access prohibited",
    # faults
    "The network interface is down",
    "surface not found",
    "do_request_failed: dial tcp ***: i/o timeout",
    "moderation service is temporarily unavailable",
    "审核服务超时，请稍后重试",
    "任务超时（1440分钟）",
    "UNIQUE constraint violation",
    "access violation at address 0",
    "asset download failed",
    "ContentSecurityDetectionError: Internal error.",
    "thread safety error",
    "unsafe redirect",
    "generation_failed: upstream refused",
    "task_not_exist",
    "policy: retry later",
    "Error 1040: Too many connections",
    "Bad Request",
    "",
]


@pytest.mark.parametrize("words", REFUSALS)
def test_refusals_for_content_are_seen(words: str) -> None:
    """Each is what a vendor or a gateway was seen or is documented to say."""
    assert refused_for_content(words)


@pytest.mark.parametrize("words", INNOCENT)
def test_innocent_errors_are_not(words: str) -> None:
    """A fallback that the row allows is not given up for them."""
    assert not refused_for_content(words)


@pytest.mark.parametrize("code", ["50412", "1026", "1301", "500054", "400501", "content_filter", "AuditSubmitIllegal"])
def test_codes_count_before_words(code: str) -> None:
    """Whatever the sentence beside them says."""
    assert refused_for_content("the request failed", [code])


@pytest.mark.parametrize("code", ["1040", "400000", "401", "invalid_request", "500000", ""])
def test_other_codes_do_not(code: str) -> None:
    """Nor does a number inside a sentence."""
    assert not refused_for_content("error 1026 of 1301 connections", [code])
