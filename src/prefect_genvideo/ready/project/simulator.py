"""Blocks for trying everything out: run this file to save them, and again after every change.

`genvideo simulate` starts the simulator of all providers, which the defaults fit. Videos go into a folder, and into an
S3 server's bucket too where one is named.
"""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr

from prefect_genvideo import (
    ArkCredentials,
    LocalDestination,
    S3Destination,
    SenseAudioCredentials,
    SudashuiCredentials,
    VideoJob,
)
from prefect_genvideo.deployments import Document, main

NAME = "simulator"


class SimulatedEnvironment(BaseModel):
    """Environment variables by name. No value is a secret: the simulator takes any key that starts with sk-sim."""

    genvideo_simulator_url: str = Field(default="http://127.0.0.1:8787", description="Where the simulator is.")
    genvideo_simulator_key: SecretStr = Field(default=SecretStr("sk-sim-demo"), description="A key it takes.")
    genvideo_bucket: str = Field(default="", description="Bucket that takes the videos; none: the folder.")
    genvideo_prefix: str = Field(default="videos", description="Folder in the bucket.")
    genvideo_region: str = Field(default="us-east-1", description="Region that the S3 server goes by.")
    genvideo_s3_endpoint_url: str = Field(default="http://127.0.0.1:9000", description="Where the S3 server is.")
    genvideo_s3_access_key_id: str = Field(default="genvideo", description="Access key id.")
    genvideo_s3_secret_access_key: SecretStr = Field(default=SecretStr("genvideo-simulator"), description="Its secret.")
    genvideo_folder: str = Field(default="videos", description="Folder of the local destination.")


def documents(values: SimulatedEnvironment) -> list[Document]:
    """The documents, in the order of their references."""
    url, key = values.genvideo_simulator_url.rstrip("/"), values.genvideo_simulator_key
    sudashui = SudashuiCredentials(api_key=key, base_url=f"{url}/sudashui", files_url=f"{url}/sudashui-files")
    senseaudio = SenseAudioCredentials(api_key=key, base_url=f"{url}/senseaudio")
    ark = ArkCredentials(api_key=key, base_url=f"{url}/ark/api/v3")
    folder = LocalDestination(path=values.genvideo_folder)
    found = [Document(NAME, block) for block in (sudashui, senseaudio, ark, folder)]
    if not values.genvideo_bucket:
        return [*found, Document(f"{NAME}-teaser", VideoJob(credentials=sudashui, destination=folder, duration=4))]
    videos = S3Destination(
        bucket=values.genvideo_bucket,
        prefix=values.genvideo_prefix,
        region=values.genvideo_region,
        endpoint_url=values.genvideo_s3_endpoint_url,
        access_key_id=values.genvideo_s3_access_key_id,
        secret_access_key=values.genvideo_s3_secret_access_key,
    )
    teaser = VideoJob(credentials=sudashui, destination=videos, duration=4)
    return [*found, Document(NAME, videos), Document(f"{NAME}-teaser", teaser)]


if __name__ == "__main__":
    main(SimulatedEnvironment, documents)
