"""What a generation costs: decimal amounts, typed price tables, and estimates made of them."""

from prefect_genvideo.prices.amounts import Estimate, EstimateTotal, Money, money_of, total_of
from prefect_genvideo.prices.facts import MoneyFacts, Posting
from prefect_genvideo.prices.table import Price, PriceTable, read_price_tables

__all__ = [
    "Estimate",
    "EstimateTotal",
    "Money",
    "MoneyFacts",
    "Posting",
    "Price",
    "PriceTable",
    "money_of",
    "read_price_tables",
    "total_of",
]
