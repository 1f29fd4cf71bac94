"""What a generation costs: decimal amounts, typed price tables, and estimates made of them."""

from prefect_genvideo.prices.amounts import Amount, Estimate, EstimateTotal, Money, money_of, total_of
from prefect_genvideo.prices.estimate import Billable, billable_of
from prefect_genvideo.prices.facts import MoneyFacts, Posting
from prefect_genvideo.prices.read import read_price_tables
from prefect_genvideo.prices.table import Price, PriceTable, Rounding

__all__ = [
    "Amount",
    "Billable",
    "Estimate",
    "EstimateTotal",
    "Money",
    "MoneyFacts",
    "Posting",
    "Price",
    "PriceTable",
    "Rounding",
    "billable_of",
    "money_of",
    "read_price_tables",
    "total_of",
]
