"""The HTTP API for videos of Volcengine Ark, which BytePlus offers as ModelArk."""

from prefect_genvideo.providers.ark.client import ArkClient
from prefect_genvideo.providers.ark.tasks import TaskPage

__all__ = ["ArkClient", "TaskPage"]
