"""The plugin's settings, where Prefect's own are."""

from __future__ import annotations

from typing import ClassVar

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic_settings import SettingsConfigDict

from prefect_genvideo.settings import GenVideoSettings


class _PrefectSettings(PrefectBaseSettings, GenVideoSettings):
    """The settings where Prefect's own are: environment, profile and `prefect.toml`."""

    # Both bases declare it, each with the type of its own kind of model.
    model_config: ClassVar[SettingsConfigDict] = build_settings_config(("integrations", "genvideo"))  # pyright: ignore[reportIncompatibleVariableOverride]


def get_settings() -> GenVideoSettings:
    """Return the settings as environment, profile and `prefect.toml` have them now."""
    return _PrefectSettings()
