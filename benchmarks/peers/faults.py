"""What goes wrong in a run: the faults that the server injects, and the moments at which it kills the client."""

from __future__ import annotations

from dataclasses import dataclass

# The page of the commonest ingress. fal-client resends only after an ingress error that names it.
NGINX_502 = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>"
    "\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
JSON_500 = '{"error": {"code": "internal_error", "message": "internal error", "type": "server_error"}}'
JSON_429 = '{"error": {"code": "rate_limited", "message": "too many requests", "type": "rate_limit_error"}}'
XML_403 = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


@dataclass(frozen=True)
class Reply:
    """An answer that is not the one the client hopes for."""

    status: int
    media_type: str
    body: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: Name in tables and on the command line.
        step: `connect`, `create` or `download`: what it hits.
        how: `cut` (connection closed without an answer), `silence` (no answer until the client leaves), `half`
            (closed after half of the body), `reset` (before the TLS handshake), or the `Reply` that is sent.
        accepted: Whether the vendor accepted (and bills) the job before the fault.
        meaning: In words, for the table.
        times: How often in a row it strikes.
        default: Whether it is part of the standard matrix.
    """

    name: str
    step: str
    how: str | Reply
    accepted: bool
    meaning: str
    times: int = 1
    default: bool = True


_500 = Reply(500, "application/json", JSON_500)
_502 = Reply(502, "text/html", NGINX_502)
_429 = Reply(429, "application/json", JSON_429, (("Retry-After", "1"),))
_403 = Reply(403, "application/xml", XML_403)

_TABLE = (
    Fault("none", "", "", False, "control: nothing goes wrong"),
    Fault("lost_answer", "create", "cut", True, "job accepted, connection closed before the answer"),
    Fault("lost_request", "create", "cut", False, "connection closed before the job was accepted"),
    Fault("json_500", "create", _500, False, "500 with JSON, nothing accepted"),
    Fault("json_500_accepted", "create", _500, True, "500 with JSON although the job was accepted"),
    Fault("html_502", "create", _502, False, "502 page of an ingress, nothing accepted"),
    Fault("html_502_accepted", "create", _502, True, "502 page of an ingress although the job was accepted"),
    Fault("rate_limited", "create", _429, False, "429 with Retry-After: 1"),
    Fault("timeout", "create", "silence", True, "job accepted, no answer until the client gives up"),
    Fault("refused", "connect", "reset", False, "first connection reset before the TLS handshake"),
    Fault("cut_download", "download", "half", True, "first download ends half way"),
    Fault("expired_link", "download", _403, True, "first download is answered with 403, link expired"),
    Fault(
        "lost_answer_3x",
        "create",
        "cut",
        True,
        "a short outage: the first three answers are lost",
        times=3,
        default=False,
    ),
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _TABLE}
DEFAULT_FAULTS: tuple[str, ...] = tuple(fault.name for fault in _TABLE if fault.default)

KILLS: dict[str, str] = {
    "before_post": "the request is on the wire, the vendor has not accepted it",
    "after_post": "the vendor has accepted the job, the client does not have the id",
    "polling": "while it asks for the state",
    "downloading": "when half of the video has arrived",
}
