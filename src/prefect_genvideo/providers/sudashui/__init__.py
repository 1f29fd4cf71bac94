"""Sudashui's HTTP API."""

from prefect_genvideo.providers.sudashui.client import SudashuiClient

__all__ = ["SudashuiClient"]
