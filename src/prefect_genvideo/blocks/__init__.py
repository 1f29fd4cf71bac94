"""Block types for accounts, destinations and presets, and what opens them for a run."""

from prefect_genvideo.blocks.credentials import (
    ArkCredentials,
    ProviderCredentials,
    SenseAudioCredentials,
    SudashuiCredentials,
    credentials_type,
    known_credentials,
    load_plugins,
)
from prefect_genvideo.blocks.destinations import LocalDestination, S3Destination, VideoDestination, as_destination
from prefect_genvideo.blocks.job import VideoJob, VideoRun
from prefect_genvideo.blocks.session import (
    Credentials,
    Destination,
    open_pipeline,
    resolve_credentials,
    resolve_destination,
)

__all__ = [
    "ArkCredentials",
    "Credentials",
    "Destination",
    "LocalDestination",
    "ProviderCredentials",
    "S3Destination",
    "SenseAudioCredentials",
    "SudashuiCredentials",
    "VideoDestination",
    "VideoJob",
    "VideoRun",
    "as_destination",
    "credentials_type",
    "known_credentials",
    "open_pipeline",
    "resolve_credentials",
    "resolve_destination",
]

# Forms and presets are to offer the credentials of every installed provider, whoever imports us.
load_plugins()
