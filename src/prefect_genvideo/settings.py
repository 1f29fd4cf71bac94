"""Settings of the plugin: `PREFECT_INTEGRATIONS_GENVIDEO_*` in the environment, a profile or `prefect.toml`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class GenVideoSettings(BaseModel):
    """What an operator may change without touching a flow. Times in seconds."""

    poll_interval: float | None = Field(
        default=None, gt=0, description="Ask the provider every so many seconds instead of by the learned schedule."
    )
    timeout: float = Field(
        default=3600, gt=0, description="Seconds a generation may take once it has started; the task id is kept."
    )
    create_patience: float = Field(
        default=900, ge=0, description="Seconds for which rate and concurrency limits are waited out before a create."
    )
    create_attempts: int = Field(
        default=3, ge=1, le=10, description="Creates sent at most when it is proven each time that nothing was made."
    )
    stale_after: float = Field(
        default=180, gt=0, description="Seconds after which a recorded intent without a task id counts as crashed."
    )
    ledger_patience: float = Field(
        default=600, ge=0, description="Seconds for which a ledger store that is down is tried again."
    )
    allow_private: bool = Field(
        default=False, description="Fetch videos from private and loopback addresses too (own gateways, tests)."
    )
    allow_local_files: bool = Field(
        default=True,
        description="Read reference files from the worker's disk. Switch off where parameters are untrusted.",
    )
    max_video_gib: float = Field(default=8, gt=0, description="Largest video that is downloaded, in GiB.")
    stall_timeout: float = Field(
        default=45, gt=0, description="Seconds without a byte after which a download counts as stuck."
    )
    model_rules: str = Field(
        default="",
        description="JSON or YAML file, or such text, with what models take beyond the built-in tables.",
    )
    exclusive_keys: bool = Field(
        default=False,
        description="Every API key is used by runs of one ledger alone; lost creates may be found by elimination.",
    )
    prices: str = Field(
        default="",
        description="JSON or YAML file, or such text, with what generations cost you, by provider.",
    )
    balance_check: Literal["warn", "refuse", "off"] = Field(
        default="warn",
        description="What a batch does before its first create that the balance of the key may not pay to its end.",
    )
    money_calls: int = Field(
        default=16,
        ge=0,
        le=1000,
        description="Questions about balance and log a host gets in 20 minutes, from all runs with one ledger; 0: any.",
    )
    assets: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="When runs tell Prefect of saved videos, films and reports as assets; auto: on Prefect Cloud.",
    )
    asset_owners: str = Field(default="", description="Owners of the assets, with commas between them.")
    asset_tags: str = Field(default="", description="Tags of the assets, with commas between them.")
