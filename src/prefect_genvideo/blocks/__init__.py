"""Block types: who pays and where videos go, and what opens them for a run."""

from prefect_genvideo.blocks.credentials import ProviderCredentials, SenseAudioCredentials, SudashuiCredentials
from prefect_genvideo.blocks.destinations import LocalDestination, S3Destination, VideoDestination, as_destination
from prefect_genvideo.blocks.job import VideoJob, VideoRun
from prefect_genvideo.blocks.session import Credentials, Destination, resolve_credentials, resolve_destination

__all__ = [
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
    "resolve_credentials",
    "resolve_destination",
]
