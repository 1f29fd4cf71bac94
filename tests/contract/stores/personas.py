"""How stores that speak S3 behave where they differ, as their documents and their users tell.

Every persona is reached by its real host name through the server as an HTTP proxy, so that addressing is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BUCKET = "my-videos"
KEY_ID = "persona-access"
SECRET = "persona-secret"


@dataclass(frozen=True)
class Persona:
    """One kind of store.

    Attributes:
        host: Host name of the endpoint.
        path_refusal: Code with which the bucket in the path is refused; None: it is understood.
        virtual: Whether the bucket in front of the host name is understood.
        owns: The endpoint is the bucket's own host name; no bucket is named anywhere.
        conditions: What becomes of `If-None-Match` and `If-Match` on PutObject.
        refusal: Status and code of a refused condition.
        atomic: Whether looking and writing are one step.
        spelling: ETags that `If-Match` understands.
        complete: Whether CompleteMultipartUpload knows what PutObject knows.
        forbid: The vendor's own header that forbids to overwrite.
        exists: Status and code when that header finds an object.
        etags: What an ETag is.
        signed: Whether a body has to fit the SHA-256 in the signature.
        unsigned: Whether a body may come without one.
        truncated: How a listing of several pages goes on.
        denied: Actions that the credentials do not have.
        markers: Keys that writes find occupied and reads do not find (delete markers).
        conflicts: CompleteMultipartUpload is answered 409 so many times, and its upload is gone.
        expired: Requests that are answered that their credentials have expired.
        unknown: Headers of a write that are refused, each with status and code.
    """

    host: str
    path_refusal: str | None = None
    virtual: bool = True
    owns: bool = False
    conditions: Literal["kept", "refused", "ignored"] = "kept"
    refusal: tuple[int, str] = (501, "NotImplemented")
    atomic: bool = True
    spelling: Literal["any", "bare"] = "any"
    complete: bool = True
    forbid: str | None = None
    exists: tuple[int, str] = (409, "FileAlreadyExists")
    etags: Literal["md5", "random", "none"] = "md5"
    signed: bool = True
    unsigned: bool = True
    truncated: Literal["sound", "without token", "token ignored", "endless"] = "sound"
    denied: frozenset[str] = frozenset()
    markers: tuple[str, ...] = ()
    conflicts: int = 0
    expired: int = 0
    unknown: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    @property
    def endpoint_url(self) -> str:
        """What a user gives as endpoint."""
        return f"http://{self.host}"


_OSS = Persona(
    host="oss-cn-hangzhou.aliyuncs.com",
    path_refusal="SecondLevelDomainForbidden",
    conditions="refused",
    forbid="x-oss-forbid-overwrite",
)
_COS = Persona(
    host="cos.ap-guangzhou.myqcloud.com",
    path_refusal="PathStyleDomainForbidden",
    conditions="refused",
    forbid="x-cos-forbid-overwrite",
    exists=(409, "FileAlreadyExists"),
)


def _plain(name: str, **manners: Any) -> Persona:
    """A store of Amazon's manners but for some."""
    return Persona(host=f"{name}.shop.example.com", **manners)


PERSONAS: Mapping[str, Persona] = {
    # Amazon's manners, as R2, MinIO and LocalStack have them too.
    "aws": Persona(host="s3.eu-central-1.amazonaws.com"),
    "r2": Persona(host=f"{'0a' * 16}.r2.cloudflarestorage.com"),
    # Conditions on PutObject and CompleteMultipartUpload (docs.ksyun.com 45098).
    "ks3": Persona(host="ks3-cn-beijing.ksyuncs.com", path_refusal="InvalidRequest", forbid="x-kss-forbid-overwrite"),
    # A quoted ETag never matches; CompleteMultipartUpload looks at no condition.
    "ceph": _plain("ceph", spelling="bare", complete=False),
    # Conditions are not implemented; a header of its own forbids to overwrite, not on versioned buckets.
    "oss": _OSS,
    "oss-versioned": Persona(host="oss-cn-beijing.aliyuncs.com", path_refusal=_OSS.path_refusal, conditions="refused"),
    "oss-cname": Persona(host="videos.shop.example.cn", owns=True, conditions="refused", forbid=_OSS.forbid),
    "cos": _COS,
    # The vendor writes that its header does not hold between concurrent writers.
    "cos-racy": Persona(
        host="cos.ap-beijing.myqcloud.com",
        path_refusal=_COS.path_refusal,
        conditions="refused",
        forbid=_COS.forbid,
        atomic=False,
    ),
    # Virtual style only; the last of several concurrent writers wins.
    "tos": Persona(host="tos-s3-cn-beijing.volces.com", path_refusal="InvalidPathAccess", conditions="ignored"),
    "racy": _plain("racy", atomic=False),
    "ignores-conditions": _plain("ignores-conditions", conditions="ignored"),
    "refuses-with-400": _plain("refuses-with-400", conditions="refused", refusal=(400, "InvalidArgument")),
    "refuses-with-403": _plain("refuses-with-403", conditions="refused", refusal=(403, "AccessDenied")),
    "unsigned": _plain("unsigned", signed=False),
    "unsigned-refused": _plain("unsigned-refused", signed=False, unsigned=False),
    "unsigned-no-etags": _plain("unsigned-no-etags", signed=False, etags="none"),
    "unsigned-random-etags": _plain("unsigned-random-etags", signed=False, etags="random"),
    "no-etags": _plain("no-etags", etags="none"),
    "random-etags": _plain("random-etags", etags="random"),
    "no-token": _plain("no-token", truncated="without token"),
    "token-ignored": _plain("token-ignored", truncated="token ignored"),
    "endless": _plain("endless", truncated="endless"),
    "no-delete": _plain("no-delete", denied=frozenset({"DeleteObject", "AbortMultipartUpload"})),
    "no-put": _plain("no-put", denied=frozenset({"PutObject"})),
    "no-get": _plain("no-get", denied=frozenset({"GetObject"})),
    "no-list": _plain("no-list", denied=frozenset({"ListBucket"})),
    "no-parts": _plain("no-parts", denied=frozenset({"CreateMultipartUpload"})),
    "complete-409": _plain("complete-409", conflicts=1),
    "expires-once": _plain("expires-once", path_refusal=None, expired=1),
    "one-class": _plain("one-class", unknown={"x-amz-storage-class": (400, "InvalidArgument")}),
    "plain-bytes": _plain("plain-bytes", unknown={"x-amz-server-side-encryption": (501, "NotImplemented")}),
    "delete-marker": _plain("delete-marker", markers=("_ledger/k.json",)),
}
