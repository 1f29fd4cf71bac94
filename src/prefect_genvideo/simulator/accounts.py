"""The gateway's answers about money: balance, log, dashboard, prices and units."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from prefect_genvideo.simulator.rules import SUDASHUI_MODELS
from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.wire import Answer, Call, Handler, respond

Json = dict[str, Any]

VERSION = "v1.0.0-rc.21"
"""Of the gateway's software, as every answer names it."""
# What the dashboard shows as limit of a key without one.
_UNLIMITED = 100_000_000


def refused(key: str | None) -> Answer:
    """What is said about a bad key at the addresses that only look at it."""
    return 401, {"success": False, "message": "无效的令牌" if key else "未提供令牌"}


class Accounts:
    """Handlers of `/api/…` and `/dashboard/…` below the Sudashui base.

    Args:
        state: Tasks and money.
    """

    def __init__(self, state: SimulatorState) -> None:
        self.state = state

    def handler(self, name: str) -> Handler:
        """Return the handler of an address: a refusal where there is no such address or the bucket of calls is empty.

        Args:
            name: `usage`, `log`, `subscription`, `used`, `pricing` or `status`.
        """
        endpoint, counted, tell = {
            "usage": ("usage", True, self._usage),
            "log": ("log", True, self._log),
            "subscription": ("dashboard", False, self._subscription),
            "used": ("dashboard", False, self._used),
            "pricing": ("pricing", False, self._pricing),
            "status": ("status", False, self._status),
        }[name]

        async def handle(call: Call) -> Response:
            if endpoint in self.state.purse.manner_of(call.account).absent:
                return _absent(call)
            return (self._refused(call) if counted else None) or respond((200, tell(call.account)))

        return handle

    def _usage(self, account: str) -> Json:
        """Balance of the key."""
        left, used = self._figures(account)
        data: Json = {
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
        return {"code": True, "message": "ok", "data": data}

    def _log(self, account: str) -> Json:
        """The key's newest rows."""
        self.state.settle()
        return {"success": True, "message": "", "data": self.state.purse.rows(account)}

    def _subscription(self, account: str) -> Json:
        """The dashboard's limit: all that was ever granted, as it shows figures."""
        left, used = self._figures(account)
        limit = _UNLIMITED if left is None else self._shown(left + used)
        names = ("soft_limit_usd", "hard_limit_usd", "system_hard_limit_usd")
        body: Json = {"object": "billing_subscription", "has_payment_method": True, "access_until": 0}
        return body | dict.fromkeys(names, limit)

    def _used(self, account: str) -> Json:
        """What the dashboard shows as used, in hundredths."""
        return {"object": "list", "total_usage": self._shown(self._figures(account)[1]) * 100}

    def _pricing(self, account: str) -> Json:
        """The price list: one fixed price a model, or a ratio for those that settle by tokens."""
        del account
        manner = self.state.purse.manner
        by_tokens = manner.settles_at is not None
        entries: list[Json] = []
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
        return {
            "success": True,
            "data": entries,
            "vendors": [{"id": 1, "name": "Vendor"}],
            "group_ratio": {"default": manner.group_ratio},
            "usable_group": {"default": "默认分组"},
            "auto_groups": ["default"],
            "pricing_version": "a42d372ccf0b5dd13ecf71203521f9d2",
        }

    def _status(self, account: str) -> Json:
        """How the site counts."""
        del account
        manner = self.state.purse.manner
        data: Json = {
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
        return {"success": True, "message": "", "data": data}

    def _figures(self, account: str) -> tuple[int | None, int]:
        """What is left and what was used of a key."""
        self.state.settle()
        return self.state.purse.left(account), self.state.purse.used.get(account, 0)

    def _shown(self, quota: int) -> float:
        manner = self.state.purse.manner
        if manner.display == "TOKENS":
            return float(quota)
        return quota / (manner.quota_per_unit or 500_000) * (manner.rate if manner.display == "CNY" else 1.0)

    def _refused(self, call: Call) -> Response | None:
        """The refusal of a bucket of calls that is empty, which has no body."""
        wait = self.state.purse.refused_for(call.request.client.host if call.request.client else "")
        if wait is None:
            return None
        told = {"Retry-After": str(int(wait) + 1)} if self.state.purse.manner.retry_after else {}
        return Response(status_code=429, headers=told)


def _absent(call: Call) -> Response:
    path = call.request.url.path.removeprefix("/sudashui")
    text = f"Invalid URL ({call.request.method} {path})"
    return respond((404, {"error": {"message": text, "type": "invalid_request_error", "param": "", "code": ""}}))
