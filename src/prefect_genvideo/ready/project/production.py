"""Blocks of the production environment: run this file to save them, and again after every change.

Values come from the environment, so that this file can be shared; see the fields of `Production`.
"""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr

from prefect_genvideo import ArkCredentials, S3Destination, SenseAudioCredentials, SudashuiCredentials, VideoJob
from prefect_genvideo.deployments import Document, main

NAME = "production"


class Production(BaseModel):
    """Environment variables by name; those without a default must be set."""

    sudashui_api_key: SecretStr = Field(description="API key from Sudashui's console.")
    genvideo_bucket: str = Field(description="Bucket that takes the videos.")
    genvideo_prefix: str = Field(default="videos", description="Folder in the bucket.")
    genvideo_region: str = Field(default="", description="AWS region.")
    genvideo_s3_endpoint_url: str = Field(default="", description="Address of an S3-compatible server.")
    # Workers with a role of their own need neither; boto3's default chain finds it.
    genvideo_s3_access_key_id: str = Field(default="", description="Access key id.")
    genvideo_s3_secret_access_key: SecretStr = Field(default=SecretStr(""), description="Its secret.")
    senseaudio_api_key: SecretStr | None = Field(default=None, description="API key from SenseAudio's console.")
    ark_api_key: SecretStr | None = Field(default=None, description="API key from Volcengine Ark's console.")
    ark_base_url: str = Field(default="", description="Address of Ark's API, e.g. BytePlus'. Empty: Volcengine's.")


def documents(values: Production) -> list[Document]:
    """The documents, in the order of their references."""
    sudashui = SudashuiCredentials(api_key=values.sudashui_api_key)
    videos = S3Destination(
        bucket=values.genvideo_bucket,
        prefix=values.genvideo_prefix,
        region=values.genvideo_region,
        endpoint_url=values.genvideo_s3_endpoint_url,
        access_key_id=values.genvideo_s3_access_key_id,
        secret_access_key=values.genvideo_s3_secret_access_key,
    )
    teaser = VideoJob(
        credentials=sudashui,
        destination=videos,
        model="sd-2-fast-720p",
        prompt="{prompt}. Studio light, slow orbit around the product, no text",
        duration=5,
        aspect_ratio="9:16",
    )
    found = [Document(NAME, sudashui), Document(NAME, videos), Document("product-teaser", teaser)]
    if values.senseaudio_api_key is not None:
        found.append(Document(NAME, SenseAudioCredentials(api_key=values.senseaudio_api_key)))
    if values.ark_api_key is not None:
        address = {"base_url": values.ark_base_url} if values.ark_base_url else {}
        found.append(Document(NAME, ArkCredentials(api_key=values.ark_api_key, **address)))
    return found


if __name__ == "__main__":
    main(Production, documents)
