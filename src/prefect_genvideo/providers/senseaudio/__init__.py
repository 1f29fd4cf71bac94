"""SenseAudio's HTTP API."""

from prefect_genvideo.providers.senseaudio.client import SenseAudioClient

__all__ = ["SenseAudioClient"]
