"""Reading the prices that a user states: from a file, a setting, or the text of a Variable."""

from __future__ import annotations

from pydantic import TypeAdapter

from prefect_genvideo.prices.table import PriceTable
from prefect_genvideo.stated import stated_by_provider

_FILE = TypeAdapter(dict[str, PriceTable])


def read_price_tables(stated: str) -> dict[str, PriceTable]:
    """Read the prices that a user states, by provider.

    Args:
        stated: A JSON or YAML object, or the path of a file that holds one: `{"senseaudio": {"currency": "CNY",
            "prices": [{"models": "doubao-seedance-2-0-*", "per": "second", "amount": "0.6", "resolution": "720p"}]}}`.
            See `PriceTable` and `Price` for the fields.

    Raises:
        InvalidRequestError: It cannot be read or breaks the form; every broken field is named.
    """
    found, source = stated_by_provider(stated, "prices", _FILE)
    return {
        name: table if table.source else table.model_copy(update={"source": source}) for name, table in found.items()
    }
