"""Block types: who pays and where videos go."""

from prefect_genvideo.blocks.credentials import ProviderCredentials, SenseAudioCredentials, SudashuiCredentials
from prefect_genvideo.blocks.destinations import LocalDestination, S3Destination, VideoDestination, as_destination

__all__ = [
    "LocalDestination",
    "ProviderCredentials",
    "S3Destination",
    "SenseAudioCredentials",
    "SudashuiCredentials",
    "VideoDestination",
    "as_destination",
]
