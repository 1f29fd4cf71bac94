"""A process that wants one video at a destination, several times at once. Prints a line of JSON a run.

`python child.py '{"provider": …, "destination": …, "runs": …}'`
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from prefect_genvideo import S3Destination
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers import SudashuiClient
from tests.fixtures.money_child import TEMPLATE, run


async def main(options: dict[str, Any]) -> None:
    """All runs at once."""
    async with SudashuiClient(**options["provider"]) as client:
        ledger = S3Destination.model_validate(options["destination"]).get_ledger()
        pipeline = Pipeline(client, ledger, TEMPLATE, CreatePolicy(look_every=0.3), poll_interval=0.3)
        for row in await asyncio.gather(*(run(pipeline, "k") for _ in range(options["runs"]))):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
