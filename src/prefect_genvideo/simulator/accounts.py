"""What the gateway tells a key of its money: balance, log, dashboard, prices and units."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from prefect_genvideo.simulator.faults import Fault
from prefect_genvideo.simulator.rules import SUDASHUI_MODELS
from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.wire import Answer, respond

VERSION = "v1.0.0-rc.21"
"""Of the gateway's software, as every answer names it."""
# What the dashboard shows as limit of a key without one.
_UNLIMITED = 100_000_000


def refuse_key(key: str | None, op: str) -> Answer | None:
    """What is said about a bad key at the addresses that only look at it, or None for a good one.

    Args:
        key: What came as bearer token.
        op: What is asked.
    """
    del op
    if key and key.startswith("sk-sim") and key != "sk-sim-expired":
        return None
    return 401, {"success": False, "message": "无效的令牌" if key else "未提供令牌"}


class Accounts:
    """Handlers of `/api/…` and `/dashboard/…` below the Sudashui base.

    Args:
        state: Tasks and money.
    """

    def __init__(self, state: SimulatorState) -> None:
        self.state = state

    async def usage(self, request: Request, fault: Fault | None) -> Response:
        """Balance of the key.

        Args:
            request: The call.
            fault: What strikes it, if anything.
        """
        if (refused := self._refused(request, "usage")) is not None:
            return refused
        left, used = self._figures(request)
        data: dict[str, Any] = {
            "object": "token_usage",
            "name": "key-a",
            "total_granted": used + (left or 0),
            "total_used": used,
            "total_available": -used if left is None else left,
            "unlimited_quota": left is None,
            "model_limits": {},
            "model_limits_enabled": False,
            "expires_at": 0,
        }
        return respond((200, {"code": True, "message": "ok", "data": data}))

    async def log(self, request: Request, fault: Fault | None) -> Response:
        """The key's newest rows.

        Args:
            request: The call.
            fault: What strikes it, if anything.
        """
        if (refused := self._refused(request, "log")) is not None:
            return refused
        self.state.settle()
        rows = self.state.purse.rows(request.state.account)
        return respond((200, {"success": True, "message": "", "data": rows}))

    async def subscription(self, request: Request, fault: Fault | None) -> Response:
        """The dashboard's limit: all that was ever granted, as it shows figures.

        Args:
            request: The call.
            fault: What strikes it, if anything.
        """
        if "dashboard" in self.state.purse.manner.absent:
            return self._absent(request)
        left, used = self._figures(request)
        limit = _UNLIMITED if left is None else self._shown(left + used)
        body: dict[str, Any] = {"object": "billing_subscription", "has_payment_method": True, "access_until": 0}
        names = ("soft_limit_usd", "hard_limit_usd", "system_hard_limit_usd")
        return respond((200, body | dict.fromkeys(names, limit)))

    async def used(self, request: Request, fault: Fault | None) -> Response:
        """What the dashboard shows as used, in hundredths.

        Args:
            request: The call.
            fault: What strikes it, if anything.
        """
        if "dashboard" in self.state.purse.manner.absent:
            return self._absent(request)
        return respond((200, {"object": "list", "total_usage": self._shown(self._figures(request)[1]) * 100}))

    async def pricing(self, request: Request, fault: Fault | None) -> Response:
        """The price list: one fixed price a model, or a ratio for those that settle by tokens.

        Args:
            request: The call.
            fault: What strikes it, if anything.
        """
        manner = self.state.purse.manner
        if "pricing" in manner.absent:
            return self._absent(request)
        by_tokens = manner.settles_at is not None
        entries: list[dict[str, Any]] = []
        for name in (*SUDASHUI_MODELS, *self.state.config.models):
            price = manner.prices.get(name, manner.price)
            entries.append(
                {
                    "model_name": name,
                    "vendor_id": 1,
                    "quota_type": 0 if by_tokens else 1,
                    "model_ratio": price * 2 if by_tokens else 0,
                    "model_price": 0 if by_tokens else price,
                    "owner_by": "",
                    "completion_ratio": 1 if by_tokens else 0,
                    "enable_groups": ["default"],
                    "supported_endpoint_types": ["openai-video"],
                }
            )
        body: dict[str, Any] = {
            "success": True,
            "data": entries,
            "vendors": [{"id": 1, "name": "Vendor"}],
            "group_ratio": {"default": manner.group_ratio},
            "usable_group": {"default": "默认分组"},
            "auto_groups": ["default"],
            "pricing_version": "a42d372ccf0b5dd13ecf71203521f9d2",
        }
        return respond((200, body))

    async def status(self, request: Request, fault: Fault | None) -> Response:
        """How the site counts.

        Args:
            request: The call.
            fault: What strikes it, if anything.
        """
        manner = self.state.purse.manner
        if "status" in manner.absent:
            return self._absent(request)
        data: dict[str, Any] = {
            "version": VERSION,
            "system_name": "Gateway",
            "quota_per_unit": manner.quota_per_unit,
            "display_in_currency": manner.display != "TOKENS",
            "quota_display_type": manner.display,
            "custom_currency_symbol": "¤",
            "custom_currency_exchange_rate": 1,
            "usd_exchange_rate": manner.rate,
            "price": 7.3,
            "stripe_unit_price": 8,
            "enable_task": True,
        }
        return respond((200, {"success": True, "message": "", "data": data}))

    def _figures(self, request: Request) -> tuple[int | None, int]:
        """What is left and what was used of the key that asks."""
        self.state.settle()
        account = request.state.account
        return self.state.purse.left(account), self.state.purse.used.get(account, 0)

    def _shown(self, quota: int) -> float:
        manner = self.state.purse.manner
        if manner.display == "TOKENS":
            return float(quota)
        return quota / (manner.quota_per_unit or 500_000) * (manner.rate if manner.display == "CNY" else 1.0)

    def _refused(self, request: Request, endpoint: str) -> Response | None:
        """An address that is not there, or a bucket that is empty: a refusal has no body."""
        manner = self.state.purse.manner
        if endpoint in self.state.purse.manner_of(request.state.account).absent:
            return self._absent(request)
        wait = self.state.purse.refused_for(request.client.host if request.client else "")
        if wait is None:
            return None
        return Response(status_code=429, headers={"Retry-After": str(int(wait) + 1)} if manner.retry_after else {})

    def _absent(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/sudashui")
        text = f"Invalid URL ({request.method} {path})"
        return respond((404, {"error": {"message": text, "type": "invalid_request_error", "param": "", "code": ""}}))
