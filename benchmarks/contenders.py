"""The contenders of `overhead.py`, run as `python -m benchmarks.contenders JSON`; prints its figures as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.servers import peak_kb

#: Questions a second by all generations together; httpx spends its time on queueing for connections with many more.
MOST_QUESTIONS = 200
MODEL = "sd-2-fast-720p"


def body(number: int) -> dict[str, Any]:
    """The create of one video."""
    payload = {"aspectRatio": "16:9", "mode": "references"}
    return {"model": MODEL, "prompt": f"a cat {number}", "duration": 4, "metadata": {"payload": json.dumps(payload)}}


def s3_client(job: dict[str, Any]) -> Any:
    """A boto3 client for the job's S3 server."""
    import boto3

    key = job["s3_key"]
    return boto3.client(
        "s3", endpoint_url=job["s3"], region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=key
    )


def poll_seconds(job: dict[str, Any]) -> float:
    """How often everybody asks: every 0.5 s, or as seldom as `MOST_QUESTIONS` demands."""
    return max(0.5, job["count"] / MOST_QUESTIONS)


class Bare:
    """One video as its provider's API and boto3 make it, without an orchestrator: create, ask, copy video and cover."""

    def __init__(self, job: dict[str, Any]) -> None:
        import httpx

        self.job = job
        self.base = f"{job['simulator']}/sudashui/v1/video/generations"
        self.s3 = s3_client(job)
        self.client = httpx.AsyncClient(headers={"Authorization": "Bearer sk-sim-demo"}, timeout=120)
        self.sending = asyncio.Semaphore(100)  # as many as httpx has connections

    async def __call__(self, number: int) -> None:
        async with self.sending:
            created = (await self.client.post(self.base, json=body(number))).json()
        while True:
            await asyncio.sleep(poll_seconds(self.job))
            row = (await self.client.get(f"{self.base}/{created['task_id']}")).json()["data"]
            if row["status"] == "SUCCESS":
                break
        (made,) = row["data"]["creations"]
        for link, ending in ((made["url"], "mp4"), (made["cover_url"], "jpg")):
            async with self.sending:
                file = await self.client.get(link)
            await asyncio.to_thread(self._put, f"{self.job['contender']}/{created['task_id']}.{ending}", file.content)

    def _put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.job["bucket"], Key=key, Body=content)


def bare(job: dict[str, Any]) -> None:
    """asyncio, httpx and boto3 in threads: what the work costs without an orchestrator."""

    async def everything() -> None:
        make = Bare(job)
        async with make.client:
            await asyncio.gather(*map(make, range(job["count"])))

    asyncio.run(everything())


def floor(job: dict[str, Any]) -> None:
    """The same work in one flow run with a task run a video: what showing it in Prefect costs, without us."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    @flow
    async def everything() -> None:
        make = Bare(job)

        @task(cache_policy=NO_CACHE, persist_result=False, task_run_name="video {number}")
        async def video(number: int) -> None:
            await make(number)

        async with make.client:
            await asyncio.gather(*map(video, range(job["count"])))

    asyncio.run(everything())


def prefect_aws(job: dict[str, Any]) -> None:
    """What an engineer who knows Prefect writes: async tasks a step, httpx, and `S3Bucket` of prefect-aws."""
    import httpx
    from prefect import flow, task
    from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket  # pyright: ignore[reportMissingImports]

    base, key = f"{job['simulator']}/sudashui/v1/video/generations", job["s3_key"]
    place: Any = S3Bucket(
        bucket_name=job["bucket"],
        bucket_folder="prefect-aws",
        credentials=AwsCredentials(
            aws_access_key_id=key,
            aws_secret_access_key=key,
            region_name="us-east-1",
            aws_client_parameters=AwsClientParameters(endpoint_url=job["s3"]),
        ),
    )

    @flow
    async def everything() -> None:
        limit = asyncio.Semaphore(100)
        async with httpx.AsyncClient(headers={"Authorization": "Bearer sk-sim-demo"}, timeout=120) as client:

            @task(retries=3, persist_result=False)
            async def create(number: int) -> str:
                async with limit:
                    return (await client.post(base, json=body(number))).json()["task_id"]

            @task(retries=3, persist_result=False)
            async def wait(task_id: str) -> dict[str, str]:
                while True:
                    await asyncio.sleep(poll_seconds(job))
                    row = (await client.get(f"{base}/{task_id}")).json()["data"]
                    if row["status"] == "SUCCESS":
                        return row["data"]["creations"][0]

            @task(retries=3, persist_result=False)
            async def save(made: dict[str, str], task_id: str) -> None:
                for link, ending in ((made["url"], "mp4"), (made["cover_url"], "jpg")):
                    async with limit:
                        file = await client.get(link)
                    await place.awrite_path(f"{task_id}.{ending}", file.content)

            async def one(number: int) -> None:
                task_id = await create(number)
                await save(await wait(task_id), task_id)

            await asyncio.gather(*map(one, range(job["count"])))

    asyncio.run(everything())


def steps(job: dict[str, Any]) -> None:
    """One flow run with an empty task run for each video: what it costs to show them at all."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    @task(cache_policy=NO_CACHE, persist_result=False)
    async def step(number: int) -> None:
        pass

    @flow
    async def shown() -> None:
        await asyncio.gather(*(step(number) for number in range(job["count"])))

    asyncio.run(shown())


def ours(job: dict[str, Any]) -> None:
    """`generate_videos`, every video a task run."""
    import os

    os.environ["PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL"] = str(poll_seconds(job))
    from prefect_genvideo import S3Destination, SudashuiCredentials, generate_videos

    simulator, key = job["simulator"], job["s3_key"]
    credentials = SudashuiCredentials.model_validate(
        {
            "api_key": "sk-sim-demo",
            "base_url": f"{simulator}/sudashui",
            "files_url": f"{simulator}/sudashui-files",
        }
    )
    destination = S3Destination.model_validate(
        {
            "bucket": job["bucket"],
            "prefix": f"ours-{job['count']}",
            "covers": job["contender"] == "ours",
            "endpoint_url": job["s3"],
            "region": "us-east-1",
            "access_key_id": key,
            "secret_access_key": key,
        }
    )
    requests = [{"model": MODEL, "prompt": f"a cat {number}", "duration": 4} for number in range(job["count"])]
    report = asyncio.run(generate_videos(requests, credentials, destination, max_in_flight=1000))
    assert len(report.saved) == job["count"], report.summary()


# The same; the job's name switches covers off.
no_covers = ours


def by_hand(job: dict[str, Any]) -> None:
    """Three sync tasks, `requests` and `time.sleep` on ten threads."""
    import requests
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    base = f"{job['simulator']}/sudashui/v1/video/generations"
    headers = {"Authorization": "Bearer sk-sim-demo"}
    s3 = s3_client(job)

    @task(retries=3)
    def create(number: int) -> str:
        return requests.post(base, json=body(number), headers=headers, timeout=120).json()["task_id"]

    @task(retries=3)
    def wait(task_id: str) -> str:
        while True:
            time.sleep(0.5)  # ten threads never ask too much
            row = requests.get(f"{base}/{task_id}", headers=headers, timeout=120).json()["data"]
            if row["status"] == "SUCCESS":
                return row["data"]["creations"][0]["url"]

    @task(retries=3)
    def save(url: str, number: int) -> None:
        video = requests.get(url, timeout=120)
        s3.put_object(Bucket=job["bucket"], Key=f"by-hand/{number}.mp4", Body=video.content)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=10))  # pyright: ignore[reportCallIssue, reportArgumentType]
    def everything() -> None:
        ids = [create.submit(number) for number in range(job["count"])]
        urls = [wait.submit(task_id) for task_id in ids]  # type: ignore[arg-type]  # Prefect resolves futures
        for saved in [save.submit(url, number) for number, url in enumerate(urls)]:  # type: ignore[arg-type]  # likewise
            saved.result()

    everything()


def main() -> None:
    """Run the contender named in the job and print wall time, CPU and peak memory above the imports."""
    job = json.loads(sys.argv[1])
    contender: Callable[[dict[str, Any]], None] = globals()[job["contender"]]
    if job["contender"] != "bare":
        import fastapi.encoders  # noqa: F401 - Prefect imports it for a flow's parameters
        import prefect  # noqa: F401 - importing takes seconds and is not what is measured

        if job["contender"] in ("ours", "no_covers"):
            import prefect_genvideo.flows
            import prefect_genvideo.storage.s3.store  # noqa: F401 - likewise
    import boto3  # noqa: F401 - likewise

    base_kb = peak_kb()
    began, cpu = time.monotonic(), time.process_time()
    contender(job)
    figures = {
        "wall_s": time.monotonic() - began,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": (peak_kb() - base_kb) / 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
