"""Local clips: their facts, their first and last frames, covers, contact sheets, and films joined from them.

Everything here is synchronous work on local files with PyAV and Pillow (`pip install "prefect-genvideo[media]"`); run
it in a thread. Which error means what:

- `InvalidRequestError`: the file is no video that is known here (missing, another kind, no picture, too large or too
  long), or a package is missing. Fetching it again changes nothing.
- `DownloadError`: it is a video, but cut off or damaged. Fetching it again may help.
- `DestinationError`: the film cannot be written.
"""

from __future__ import annotations

from prefect_genvideo.media.clip import require_media
from prefect_genvideo.media.contact_sheet import contact_sheet
from prefect_genvideo.media.frames import cover_of, last_frame
from prefect_genvideo.media.join import JoinInfo, join
from prefect_genvideo.media.preview import moving_preview
from prefect_genvideo.media.thumbnail import thumbnail

__all__ = [
    "JoinInfo",
    "contact_sheet",
    "cover_of",
    "join",
    "last_frame",
    "moving_preview",
    "require_media",
    "thumbnail",
]
