"""Destination blocks: a bucket or a directory, with the ledger beside the videos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from prefect_genvideo.blocks._discreet import DOCS, DiscreetBlock, Given, PlainForm, Secret, logo
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.pipeline.names import DEFAULT_TEMPLATE, check_template
from prefect_genvideo.pipeline.play import LONGEST_PRESIGNED, LinkKind, PlayLinks, check_link_template
from prefect_genvideo.runtime import flow_run_of_process, get_settings, warn
from prefect_genvideo.storage import (
    CONTAINER_LAYERS,
    Addressing,
    CreateOnlyStore,
    LocalStore,
    ObjectStore,
    S3Store,
    StoreAround,
    bucket_fault,
    endpoint_fault,
)

_TEMPLATE_FIELDS = "`{date} {year} {month} {day} {provider} {model} {task_id} {prompt_slug} {idempotency_key} {ext}`"

# `Any`, as no value has the type that checkers see in these fields; see `Given`.
_NO_SECRET: Any = SecretStr("")
_BESIDE_THE_VIDEOS: Any = None


# Plain models: a destination's ledger is a place without a ledger of its own, and Prefect cannot register blocks that
# hold blocks of their own type.
class BucketPlace(PlainForm):
    """A bucket and how it is reached."""

    bucket: str = Field(
        default=..., min_length=3, max_length=255, description="Bucket name, without `s3://`.", examples=["my-videos"]
    )
    prefix: str = Field(default="", description="Folder in the bucket, e.g. `campaigns/spring`. Nothing leaves it.")
    region: str = Field(default="", description="AWS region, e.g. `eu-central-1`. Empty: from the environment.")
    endpoint_url: str = Field(
        default="",
        title="Endpoint URL",
        description="Address of an S3-compatible server. Empty: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or AWS.",
    )
    addressing: Addressing = Field(
        default="auto",
        description=(
            "Where the bucket's name goes: `virtual` (into the host name), `path`, or `auto`: as the store wants it. "
            "An endpoint that is the bucket's own host name is found by `auto`."
        ),
    )
    access_key_id: str = Field(
        default="",
        title="Access key id",
        description="Access key id. Empty: boto3's default chain (environment, profile, instance role).",
    )
    secret_access_key: Secret = Field(
        default=_NO_SECRET, title="Secret access key", description="Secret that belongs to the access key id."
    )
    session_token: Secret = Field(
        default=_NO_SECRET, title="Session token", description="Only with temporary credentials."
    )
    encryption: Literal["none", "AES256", "aws:kms"] = Field(
        default="none", description="Server-side encryption of what is written; `none` leaves it to the bucket."
    )
    kms_key_id: str = Field(
        default="", title="KMS key id", description="With `aws:kms`. Empty: the account's default key."
    )
    storage_class: Literal["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"] = Field(
        default="STANDARD", title="Storage class", description="Storage class of the videos."
    )
    object_tags: bool = Field(
        default=False,
        title="Object tags",
        description=(
            "Give videos, covers and manifests their tags and cost center as S3 object tags. Needs s3:PutObjectTagging."
        ),
    )

    @field_validator("bucket")
    @classmethod
    def _bucket_is_a_name(cls, value: str) -> str:
        if limit := bucket_fault(value):
            raise ValueError(f"must {limit}, not {value!r}")
        return value

    @field_validator("endpoint_url")
    @classmethod
    def _endpoint_is_address(cls, value: str, info: ValidationInfo) -> str:
        if limit := endpoint_fault(value, info.data.get("bucket", "")):
            raise ValueError(f"must {limit}")
        return value.rstrip("/")

    def open_store(self) -> ObjectStore:
        """Return the store below the prefix; boto3 is loaded here, not before."""
        return S3Store(
            self.bucket,
            self.prefix,
            region=self.region or None,
            endpoint_url=self.endpoint_url or None,
            access_key_id=self.access_key_id or None,
            secret_access_key=self.secret_access_key.get_secret_value() or None,
            session_token=self.session_token.get_secret_value() or None,
            addressing=self.addressing,
            sse=None if self.encryption == "none" else self.encryption,
            sse_kms_key_id=self.kms_key_id or None,
            storage_class=None if self.storage_class == "STANDARD" else self.storage_class,
            object_tags=self.object_tags,
        )


class FolderPlace(PlainForm):
    """A folder."""

    path: str = Field(
        default="videos",
        min_length=1,
        validate_default=True,
        description="Folder; made when missing. `~` is the home folder. A run's worker takes full paths only.",
    )

    @field_validator("path")
    @classmethod
    def _path_is_whole(cls, value: str) -> str:
        """A run's process starts in a folder that is removed after it, and the ledger would go with it."""
        path = Path(value).expanduser()
        if path.is_absolute():
            return value
        if flow_run_of_process() is not None:
            raise ValueError(f"must be a full path, as a run's working folder is removed after it, not {value!r}")
        return str(path.absolute())

    def open_store(self) -> ObjectStore:
        """Return the store in the folder."""
        return LocalStore(Path(self.path).expanduser())


if TYPE_CHECKING:
    _Facts = Mapping[str, object]
    _LedgerPlace = Given[
        "BucketPlace | FolderPlace | None",
        "BucketPlace | FolderPlace | VideoDestination | _Facts | None",
    ]
else:
    _LedgerPlace = BucketPlace | FolderPlace | None


class VideoDestination(DiscreetBlock, ABC):  # with ABC among its bases, a class is no block type of its own
    """What every destination offers to the tasks."""

    ledger: _LedgerPlace = Field(
        default=_BESIDE_THE_VIDEOS,
        description="Where the ledger is, if not beside the videos: a bucket or folder with conditional writes.",
    )
    key_template: str = Field(
        default=DEFAULT_TEMPLATE,
        title="Names of videos",
        description=f"Name of a video below the prefix or folder. Fields: {_TEMPLATE_FIELDS}.",
    )
    ledger_mode: Literal["strict", "create-only", "weak"] = Field(
        default="strict",
        title="Ledger mode",
        description=(
            "`strict` needs a store with conditional writes (AWS S3, MinIO, Ceph, R2, a local folder) and never pays "
            "twice. `create-only` never does either, and needs a store that can refuse to overwrite (Aliyun OSS). "
            "`weak` works without, but two runs with one key in the same second may both pay."
        ),
    )

    covers: bool = Field(
        default=True,
        title="Cover pictures",
        description="Put a cover picture beside each video; without, a video takes one object and one request less.",
    )
    link_template: str = Field(
        default="",
        title="Address of links",
        description=(
            "Where people open videos: a base address, e.g. https://videos.example.com, or one with {key} and "
            "{bucket}. Empty: the store's own addresses."
        ),
    )

    @field_validator("link_template")
    @classmethod
    def _links_are_addresses(cls, value: str) -> str:
        if value and (limit := check_link_template(value)):
            raise ValueError(f"must {limit}, not {value!r}")
        return value

    @field_validator("ledger", mode="before")
    @classmethod
    def _ledger_is_a_place(cls, value: Any) -> Any:
        if not isinstance(value, VideoDestination):
            return value
        kind = BucketPlace if isinstance(value, BucketPlace) else FolderPlace
        return kind.model_validate({name: getattr(value, name) for name in kind.model_fields})

    @model_validator(mode="after")
    def _mode_fits_the_ledger(self) -> VideoDestination:
        place = self.ledger or self
        if self.ledger_mode == "create-only" and isinstance(place, FolderPlace):
            raise ValueError("ledger_mode must be strict for a folder, which keeps every promise")
        return self

    @field_validator("key_template")
    @classmethod
    def _template_is_usable(cls, value: str) -> str:
        problems = check_template(value)
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @abstractmethod
    def get_store(self) -> ObjectStore:
        """Return the store below this destination's prefix."""

    def get_links(self) -> PlayLinks:
        """How links to this destination's videos are made."""
        return PlayLinks("public" if self.link_template else "none", self.link_template)

    def get_ledger(self, say: Any = None) -> Ledger:
        """Return the ledger that lies beside the videos, or where `ledger` says.

        Args:
            say: Called with a message each time a write has to be repeated.
        """
        patience = get_settings().ledger_patience
        return Ledger(self._home(), weak=self.ledger_mode == "weak", patience=patience, on_trouble=say)

    def _home(self) -> ObjectStore:
        """The store of the videos, with the ledger where and as it is kept."""
        videos = self.get_store()
        ledger = self.ledger.open_store() if self.ledger else videos
        kind = ledger.passing_mount if isinstance(ledger, LocalStore) else None
        # Memory may be what a person wants who tries things out; no person's own disk is a container's layer.
        if isinstance(ledger, LocalStore) and kind and (flow_run_of_process() or kind in CONTAINER_LAYERS):
            warn(
                f"The ledger in {ledger.path} is on a mount of type {kind}, which ends with its container or machine: "
                "what was paid for would be forgotten. Mount a volume there, or keep the ledger in a bucket."
            )
        if self.ledger_mode == "create-only":
            ledger = CreateOnlyStore(ledger)
        return videos if ledger is videos else StoreAround(videos, ledger)


# Forms show fields in the order in which classes declare them, the last base first: a place's come before the shared.
class S3Destination(VideoDestination, BucketPlace):  # pyright: ignore[reportIncompatibleMethodOverride] - Block narrows BaseModel's own
    """A bucket (AWS S3 or compatible) that videos are streamed into.

    Example:
        Load a stored destination and generate into it:
        ```python
        import asyncio

        from prefect_genvideo import S3Destination, SudashuiCredentials, generate_video

        destination = S3Destination.load("BLOCK_NAME")
        credentials = SudashuiCredentials.load("BLOCK_NAME")
        video = asyncio.run(generate_video("a cat, cinematic", "sd-2-fast-720p", credentials, destination))
        ```
        In an async flow it is `await S3Destination.aload("BLOCK_NAME")` and `await generate_video(…)`.
    """

    _block_type_name = "Video S3 Destination"
    _block_type_slug = "s3-video-destination"
    _logo_url = logo("s3")
    _documentation_url = DOCS

    link: LinkKind = Field(
        default="console",
        title="Links to videos",
        description=(
            "What opens a video where it is shown: its page in the AWS console (nothing elsewhere, unless an address "
            "is given), its public address, a presigned link, or none. Who sees a presigned link can open it while it "
            "lives."
        ),
    )
    link_hours: float = Field(
        default=24,
        gt=0,
        le=LONGEST_PRESIGNED,
        title="Life of presigned links",
        description="Hours, at most 168; no longer than temporary credentials live.",
    )

    def get_store(self) -> ObjectStore:
        """Return the store below the prefix."""
        return self.open_store()

    def get_links(self) -> PlayLinks:
        """How links to this destination's videos are made."""
        return PlayLinks(self.link, self.link_template, self.link_hours)


class LocalDestination(VideoDestination, FolderPlace):  # pyright: ignore[reportIncompatibleMethodOverride] - as above
    """A folder that videos are written into: for one machine, or a file system that all workers share.

    Example:
        Load a stored destination and generate into it:
        ```python
        import asyncio

        from prefect_genvideo import LocalDestination, SudashuiCredentials, generate_video

        destination = LocalDestination.load("BLOCK_NAME")
        credentials = SudashuiCredentials.load("BLOCK_NAME")
        video = asyncio.run(generate_video("a cat, cinematic", "sd-2-fast-720p", credentials, destination))
        ```
        In an async flow it is `await LocalDestination.aload("BLOCK_NAME")` and `await generate_video(…)`.
    """

    _block_type_name = "Video Local Destination"
    _block_type_slug = "local-video-destination"
    _logo_url = logo("folder")
    _documentation_url = DOCS

    def get_store(self) -> ObjectStore:
        """Return the store in the folder."""
        return self.open_store()


class BorrowedS3Destination(VideoDestination, ABC):
    """A `prefect_aws.S3Bucket` seen as a destination; made by `as_destination`, never saved."""

    _block_type_name = "Borrowed S3 Bucket"
    _block_type_slug = "borrowed-s3-bucket"

    s3_bucket: Any = Field(default=..., description="The prefect-aws block.")

    def get_links(self) -> PlayLinks:
        """Pages of the AWS console, where it is AWS."""
        return PlayLinks("console")

    def get_store(self) -> ObjectStore:
        """Return a store that uses the block's own session, or its client where it has no session to lend."""
        block = self.s3_bucket
        lender = block.credentials
        if not (hasattr(lender, "get_boto3_session") and hasattr(lender, "aws_client_parameters")):
            return S3Store.from_client(lender.get_s3_client(), block.bucket_name, block.bucket_folder)
        return S3Store(
            block.bucket_name,
            block.bucket_folder,
            region=getattr(lender, "region_name", None),
            endpoint_url=lender.aws_client_parameters.endpoint_url,
            lender=lender,
        )


def as_destination(block: Any) -> Any:
    """Return a destination for one of ours or a `prefect_aws.S3Bucket`; anything else as it is.

    prefect-aws need not be installed: the block is known by where its class comes from.
    """
    kinds = {f"{cls.__module__.split('.')[0]}.{cls.__name__}" for cls in type(block).__mro__}
    return BorrowedS3Destination(s3_bucket=block) if "prefect_aws.S3Bucket" in kinds else block
