"""The event door of a self-hosted Prefect: deliveries of webhooks and stores become Prefect events, each once.

Prefect Cloud has webhooks; a server of one's own has none. `genvideo listen` takes what shops, stores and buses send by
HTTP, checks who sent it, keeps it on disk, and gives it to the Prefect API as events that deployments are triggered by.
"""

from prefect_genvideo.listen.app import create_app
from prefect_genvideo.listen.config import ListenConfig, Source, read_config
from prefect_genvideo.listen.queue import DeliveryQueue
from prefect_genvideo.listen.server import serve
from prefect_genvideo.listen.shapes import SHAPES

__all__ = [
    "SHAPES",
    "DeliveryQueue",
    "ListenConfig",
    "Source",
    "create_app",
    "read_config",
    "serve",
]
