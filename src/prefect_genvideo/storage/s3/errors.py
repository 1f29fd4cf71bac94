"""What S3 and its client say, in words that tell what to check. Knows their names, not their code.

Codes: Amazon S3 API Reference, "Error responses", and the error pages of OSS, COS, TOS and KS3; exception names:
botocore.exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import PreconditionFailedError

# Scheme, and host with port; a user before them is left out.
_ADDRESS = re.compile(r"(https?://)(?:[^/?#@]*@)?([^/?#@]+)")


class Meaning(NamedTuple):
    """What to tell a person, and whether a machine may try again."""

    words: str
    retryable: bool = False


_BUSY = Meaning("the store is busy or failed for a moment", retryable=True)
_CREDENTIALS = Meaning("the credentials are refused: check access key id, secret key and session token")
_DENIED = Meaning("access denied: the credentials need {action} on this bucket and prefix{hint}")
_EXPIRED = Meaning("the session credentials have expired: renew them")
_TOKEN = Meaning("the session token is wrong or belongs to other keys: give the token that came with the key pair")
_REGION = Meaning("the bucket lives in another region: set the destination's region")
_ENDPOINT = Meaning("the bucket is reached by another endpoint: set the destination's endpoint URL and region")
_CORRUPTED = Meaning("the bytes changed on their way to the store", retryable=True)
_NETWORK = Meaning("{endpoint} cannot be reached: check the endpoint URL, DNS, proxy and firewall", retryable=True)
_NO_CREDENTIALS = Meaning("no credentials found: give keys, a profile, an instance role or AWS_* variables")
_ROLE = Meaning("the role may not be assumed: check role_arn, its trust policy and the permission sts:AssumeRole")
_VIRTUAL = Meaning("the store wants the bucket in the host name: set addressing='virtual' on the destination")
_ARCHIVED = Meaning("the object is archived: restore it, or give the bucket a storage class that can be read at once")
_EXISTS = Meaning("somebody else's object is there")
# Words for a condition that does not hold.
_TAKEN = "somebody else's object is there, or the object has changed"
_CHECKSUM = Meaning(
    "the store refuses the client's checksums: set request_checksum_calculation='when_required' "
    "(AWS_REQUEST_CHECKSUM_CALCULATION=when_required)"
)
_CNAME = Meaning(
    "the store refuses this host name for the account: bind a domain of your own to the bucket and give that as "
    "endpoint_url"
)

DEMANDS_VIRTUAL = frozenset(
    {"SecondLevelDomainForbidden", "InvalidPathAccess", "PathStyleDomainForbidden", "VirtualHostDomainRequired"}
)
"""Codes of stores that refuse the bucket in the path: OSS, TOS, COS, QingStor."""

_CODES: Mapping[str, Meaning] = {
    "NoSuchBucket": Meaning("the bucket does not exist: check its name, the region and the endpoint URL"),
    "InvalidBucketName": Meaning("this is no valid bucket name"),
    "NoSuchKey": Meaning("there is no such object"),
    "NoSuchUpload": Meaning("the store has forgotten the upload in progress; begin again", retryable=True),
    "InvalidPart": Meaning("the store has lost a part of the upload; begin again", retryable=True),
    "FileAlreadyExists": _EXISTS,
    "ObjectAlreadyExists": _EXISTS,
    "ObjectAlreadyExist": _EXISTS,
    "FileImmutable": Meaning("a retention rule of the bucket forbids changing the object"),
    "InvalidObjectState": _ARCHIVED,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": Meaning("the account behind the bucket has a problem: ask the store's operator"),
    "UserDisable": Meaning("the account is disabled: it owes money or was closed; ask the store's operator"),
    "Arrears": Meaning("the account owes money: the store serves nothing until it is paid"),
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _TOKEN,
    "InvalidSecurityToken": _TOKEN,
    "InvalidTokenId": _TOKEN,
    "InvalidClientTokenId": _CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "SecurityTokenExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": Meaning("this machine's clock is wrong by more than 15 minutes"),
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _ENDPOINT,
    "TemporaryRedirect": _ENDPOINT,
    "IllegalLocationConstraintException": _REGION,
    "BadDigest": _CORRUPTED,
    "XAmzContentSHA256Mismatch": _CORRUPTED,
    "XAmzContentChecksumMismatch": _CHECKSUM,
    "MissingContentMD5": _CHECKSUM,
    "KeyTooLongError": Meaning("the object's key is longer than the store allows: shorten prefix and key_template"),
    "InvalidDigest": Meaning("the store does not accept the MD5 of the body"),
    "EntityTooLarge": Meaning("the object is larger than the store allows"),
    "EntityTooSmall": Meaning("a part is smaller than the store allows: raise part_size"),
    "InvalidStorageClass": Meaning("the store has no such storage class"),
    "KMS.NotFoundException": Meaning("the KMS key does not exist in the bucket's region"),
    "KMS.DisabledException": Meaning("the KMS key is disabled"),
    "XMinioStorageFull": Meaning("the store is full"),
    "QuotaExceeded": Meaning("the store's quota is used up"),
    "NotImplemented": Meaning("the store does not know a header of this request"),
    "InternalError": _BUSY,
    "OperationAborted": _BUSY,
    "RequestTimeout": _BUSY,
    "RequestTimeoutException": _BUSY,
    "ServiceUnavailable": _BUSY,
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    **dict.fromkeys(DEMANDS_VIRTUAL, _VIRTUAL),
}
_STATUSES: Mapping[int, Meaning] = {
    301: _ENDPOINT,
    307: _ENDPOINT,
    400: Meaning("the store calls the request invalid: check region, addressing, encryption and endpoint settings"),
    401: _CREDENTIALS,
    403: _DENIED,
    404: Meaning("there is no such bucket or object, or the endpoint URL is not that of an S3 API"),
    408: _BUSY,
    429: _BUSY,
    409: Meaning(_TAKEN, retryable=True),
    412: Meaning(_TAKEN),
    405: Meaning("the store does not allow this: is the endpoint URL that of an S3 API?"),
    501: _CODES["NotImplemented"],
}
_EXCEPTIONS: Mapping[str, Meaning] = {
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": Meaning("the credentials are incomplete: id and secret key go together"),
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "TokenRetrievalError": _EXPIRED,
    "LoginInsufficientPermissions": Meaning("the login profile may not sign in: check the permissions of its user"),
    "LoginError": _EXPIRED,
    "SSOError": _EXPIRED,
    "ProfileNotFound": Meaning("AWS_PROFILE names a profile that does not exist on this machine"),
    "NoRegionError": Meaning("no region known: set the destination's region"),
    "InvalidRegionError": Meaning("this is no valid region name"),
    "ParamValidationError": Meaning("a setting or key is not valid for S3: check bucket, key and encryption"),
    "MissingDependencyException": Meaning(
        "this kind of credentials (a login profile) or region needs the AWS common runtime: pip install 'botocore[crt]'"
    ),
    "SSLError": Meaning("no trusted TLS connection to {endpoint}: check the address and the CA bundle"),
    "ReadTimeoutError": Meaning("the store did not answer in time", retryable=True),
    "IncompleteReadError": Meaning("the store broke off in the middle of the object", retryable=True),
    "ResponseStreamingError": Meaning("the store broke off in the middle of the object", retryable=True),
    "ResponseParserError": Meaning("{endpoint} does not answer like an S3 API: check the endpoint URL"),
    "ConnectionError": _NETWORK,
    "HTTPClientError": _NETWORK,
    "ValueError": Meaning("the S3 client refuses a setting: check the endpoint URL"),
}
_UNKNOWN = Meaning("the S3 client failed")
# Meanings of a refusal that may be for what a write asked for.
_VAGUE = frozenset({_BUSY, _DENIED, _STATUSES[400], _STATUSES[501]})
# Fields of a destination by the client's parameters that they become.
_FIELDS: Mapping[str, str] = {
    "ServerSideEncryption": "encryption",
    "SSEKMSKeyId": "kms_key_id",
    "StorageClass": "storage_class",
    "Tagging": "object_tags",
}
# Words in a store's message that say more than its code: part of the message, in lower case; what it means.
_PHRASES: tuple[tuple[str, Meaning], ...] = (
    ("aws-chunked", _CHECKSUM),
    ("streaming-unsigned-payload-trailer", _CHECKSUM),
    ("x-amz-sdk-checksum", _CHECKSUM),
    ("x-amz-checksum", _CHECKSUM),
    ("virtual host", _VIRTUAL),
    ("path-style", _VIRTUAL),
    ("must be addressed using the specified endpoint", _ENDPOINT),
    ("public endpoint", _CNAME),
    ("failed to retrieve the actual key", Meaning("the store cannot fetch the KMS key: check kms_key_id")),
)
# Requests of other services, which the client makes on its own to get credentials.
_ROLE_CALLS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRoleWithSAML", "GetRoleCredentials"})
_HIDDEN_BY_403 = "; S3 also answers 403 for an object that is not there when s3:ListBucket is missing"
_ACTIONS: Mapping[str, str] = {
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "generate_presigned_url": "s3:GetObject",
}


def _endpoint_of(error: Exception) -> str:
    """Address that botocore tried: the environment or a profile may name another than Amazon's."""
    tried = getattr(error, "kwargs", None)
    url = cast("dict[str, Any]", tried).get("endpoint_url") if isinstance(tried, dict) else None
    found = _ADDRESS.match(url) if isinstance(url, str) else None
    return f"{found[1]}{found[2]}" if found else "Amazon S3"


def explain(
    error: Exception, operation: str, uri: str, endpoint: str | None, asked: Mapping[str, Any] | None = None
) -> DestinationError:
    """Turn an exception of the S3 client into a `DestinationError` that says what to check.

    Args:
        error: What the client raised.
        operation: Name of the client's method, e.g. `put_object`.
        uri: What was worked on, e.g. `s3://bucket/key`.
        endpoint: The configured endpoint URL; None is Amazon's.
        asked: Parameters of the client's method.

    Returns:
        The error; its `reason` is the store's code, `status_code` the HTTP status where there was an answer.
    """
    answer = _answer(error)
    code, status, said = answer.code, answer.status, answer.said
    meaning = _meaning_of(answer)
    words = meaning.words.format(
        action=_ACTIONS.get(operation, operation),
        endpoint=endpoint or _endpoint_of(error),
        hint=_HIDDEN_BY_403 if operation in {"get_object", "head_object"} else "",
    )
    if meaning in _VAGUE and status not in {408, 429, 503}:
        words += _asked_for(asked or {})
    lost = meaning is _EXISTS or (status in {409, 412} and code not in _CODES)
    kind = PreconditionFailedError if lost else DestinationError
    detail = ", ".join(part for part in (operation, code, said) if part)
    return kind(f"{uri}: {words} ({detail})", retryable=meaning.retryable, status_code=status, reason=code or None)


def _asked_for(params: Mapping[str, Any]) -> str:
    """Words for what a write asked for beside its bytes, as fields of a destination; empty where that is nothing."""
    fields = ((field, params[name]) for name, field in _FIELDS.items() if name in params)
    extras = ", ".join(field if field == "object_tags" else f"{field}={value}" for field, value in fields)
    return f"; the write asked for {extras}, which not every store does" if extras else ""


def code_of(error: Exception) -> tuple[str, int | None]:
    """The store's code for a refusal and the HTTP status; name of the exception and None without an answer."""
    answer = _answer(error)
    return answer.code, answer.status


def is_known(code: str) -> bool:
    """Whether a code says something else than how buckets are to be named."""
    return code in _CODES and code not in DEMANDS_VIRTUAL


class _Answer(NamedTuple):
    """What is known of a failed request: the client's exception, and of the store's answer code, status and message."""

    error: Exception
    code: str
    status: int | None = None
    said: str = ""


def _answer(error: Exception) -> _Answer:
    response = cast("dict[str, Any]", getattr(error, "response", None) or {})
    if not response:
        return _Answer(error, type(error).__name__)
    fault = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    said = str(fault.get("Message") or "")[:200]
    return _Answer(error, str(fault.get("Code", "")), int(status) if status else None, said)


def _meaning_of(answer: _Answer) -> Meaning:
    """What a failure means; what is looked at first says more than what comes after it."""
    said = _of_role(answer) or _of_message(answer) or _CODES.get(answer.code)
    return said or _of_status(answer.status) or _of_exception(answer.error)


def _of_role(answer: _Answer) -> Meaning | None:
    asked = getattr(answer.error, "operation_name", "") in _ROLE_CALLS
    return _ROLE if asked and _CODES.get(answer.code) is not _EXPIRED else None


def _of_message(answer: _Answer) -> Meaning | None:
    status = answer.status or 0
    if not (400 <= status < 500 or status == 501):
        return None
    said = answer.said.lower()
    return next((meaning for words, meaning in _PHRASES if words in said), None)


def _of_status(status: int | None) -> Meaning | None:
    if status is None:
        return None
    return _STATUSES.get(status) or (_BUSY if status >= 500 else _UNKNOWN)


def _of_exception(error: Exception) -> Meaning:
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_EXCEPTIONS[name] for name in names if name in _EXCEPTIONS), _UNKNOWN)
