"""Amounts of money as people type them into a form or a file: `50 CNY`."""

from __future__ import annotations

import re

from pydantic import ValidationError

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.models import Problem
from prefect_genvideo.prices.amounts import Money

# A digit in the currency is a slip in the amount: `1e3 CNY`, `5 CNY 5`.
_MONEY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,18})?)\s*([A-Za-z][A-Za-z _.-]{0,29}?)\s*")


def parse_money(text: str) -> Money:
    """Read an amount with its currency, e.g. `50 CNY` or `12.5 unit`.

    Raises:
        ValueError: It is neither, or beyond every bound.
    """
    found = _MONEY.fullmatch(text)
    try:
        if found:
            return Money.model_validate({"amount": found[1], "currency": found[2]})
    except ValidationError:
        pass
    raise ValueError("must be an amount with its currency, e.g. 50 CNY")


def money_in(text: str, field: str) -> Money | None:
    """Return what a field states; None where it is empty.

    Args:
        text: See `parse_money`.
        field: Its name, for the error.

    Raises:
        InvalidRequestError: It is no amount.
    """
    if not text.strip():
        return None
    try:
        return parse_money(text)
    except ValueError as error:
        problem = Problem(field, shown(text), str(error))
        raise InvalidRequestError("The amount cannot be used; nothing was sent.", problems=[problem]) from None
