"""Assets of Prefect: what came into being in the destination, with what it was made from, as events with lineage.

Prefect Cloud shows them; a self-hosted server keeps the events and shows nothing of them.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from prefect.assets import Asset, AssetProperties
from prefect.client.base import ServerType, determine_server_type
from prefect.context import AssetContext, TaskRunContext
from prefect.settings import get_current_settings
from prefect.states import Completed
from prefect.types.names import MAX_ASSET_KEY_LENGTH, RESTRICTED_ASSET_CHARACTERS

from prefect_genvideo.errors import printable, shorten
from prefect_genvideo.pipeline.hooks import Lineage, TellLineage
from prefect_genvideo.runtime.logs import run_logger
from prefect_genvideo.runtime.runs import flow_run_id, task_run_id
from prefect_genvideo.runtime.settings import get_settings
from prefect_genvideo.settings import GenVideoSettings

# What lineage shows as the tool, as it does dbt.
_TOOL = "prefect-genvideo"
# Characters of a prompt in an event.
_LONGEST_DESCRIPTION = 300
_FORBIDDEN = str.maketrans(dict.fromkeys(RESTRICTED_ASSET_CHARACTERS, "_"))


def asset_key(uri: str) -> str:
    """Key of an object's asset: its URI, where Prefect takes it as a key.

    Prefect's keys have 512 characters at most and no spaces, quotes, brackets, percent or question marks. Of another
    URI those become `_`, its end is cut, and a hash at the end keeps it apart from its likes.

    Args:
        uri: `s3://bucket/key` or `file:///path`.
    """
    plain = uri.translate(_FORBIDDEN)
    if plain == uri and len(uri) <= MAX_ASSET_KEY_LENGTH:
        return uri
    digest = hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain[: MAX_ASSET_KEY_LENGTH - len(digest) - 1]}-{digest}"


def asset_teller() -> TellLineage | None:
    """What tells Prefect of assets; None where the setting `assets` or the kind of server says that nobody is told."""
    settings = get_settings()
    wanted = settings.assets == "always" or (
        settings.assets == "auto" and determine_server_type() == ServerType.CLOUD  # where they are shown
    )
    return partial(_tell, settings) if wanted else None


def _tell(settings: GenVideoSettings, lineage: Lineage) -> None:
    """Emit the events of a materialisation: one for the object, one for each object that it was made from.

    Inside of a run; outside nobody asked for lineage. A failure is logged: what was made is safe.
    """
    if flow_run_id() is None and task_run_id() is None:
        return
    try:
        # Half of what an event may relate to, the rest is for run and tags.
        most = get_current_settings().server.events.maximum_related_resources // 2
        task = TaskRunContext.get()
        asset = Asset(key=asset_key(lineage.uri), properties=_properties(settings, lineage))
        context = AssetContext(
            downstream_assets={asset},
            direct_asset_dependencies={Asset(key=asset_key(uri)) for uri in lineage.upstream[:most]},
            materialized_by=_TOOL,
            task_run_id=task.task_run.id if task is not None else None,
            materialization_metadata={asset.key: _metadata(settings, lineage, len(lineage.upstream) - most)},
        )
        context.update_tracked_assets()  # a user's own `@materialize` task that takes our result has it as upstream
        context.emit_events(Completed())
    except Exception as error:
        run_logger().warning("The asset was not announced: %s", type(error).__name__)


def _properties(settings: GenVideoSettings, lineage: Lineage) -> AssetProperties:
    given = {
        "name": printable(lineage.name),
        # A stranger's text, as in every other event.
        "description": shorten(lineage.description, _LONGEST_DESCRIPTION),
        "url": lineage.link,
        "owners": _words(settings.asset_owners),
    }
    # Properties that are set overwrite what people have written into the catalogue.
    return AssetProperties.model_validate({name: value for name, value in given.items() if value})


def _metadata(settings: GenVideoSettings, lineage: Lineage, unnamed: int) -> dict[str, Any]:
    tags = list(dict.fromkeys((*_words(settings.asset_tags), *lineage.facts.get("tags", ()))))
    facts: dict[str, Any] = {"uri": lineage.uri, **lineage.facts, **({"tags": tags} if tags else {})}
    return facts | ({"upstream_not_named": unnamed} if unnamed > 0 else {})


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]
