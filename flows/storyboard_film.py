"""A film of shots; a copy of its module, put here, is one of your own."""

from prefect_genvideo.ready import storyboard_film

__all__ = ["storyboard_film"]
