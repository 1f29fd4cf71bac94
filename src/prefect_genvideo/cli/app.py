"""`genvideo`: generate, look after the ledger, run the simulator and the demo."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from prefect_genvideo.cli.console import (
    add_row,
    complain,
    credentials_from,
    destination_from,
    needs,
    plain_errors,
    print_whole,
    provider_of,
    run,
    say,
)
from prefect_genvideo.cli.ledger import ledger_app
from prefect_genvideo.cli.listen import listen
from prefect_genvideo.cli.plan import plan
from prefect_genvideo.cli.project import deploy, init
from prefect_genvideo.errors import GenVideoError, InvalidRequestError, shorten
from prefect_genvideo.models import StoredVideo, VideoRequest, duration_or_default

SIMULATOR = ("av", "PIL", "starlette", "uvicorn", "python_multipart")
"""Modules that the local simulator needs, which the package alone does not bring."""
DEMO = (*SIMULATOR, "moto", "flask", "flask_cors")
"""Modules that the demo needs."""

app = App(name="genvideo", help="AI video generation that is never paid for twice and never lost.")
app.command(ledger_app)
app.command(listen)
app.command(plan)
app.command(init)
app.command(deploy)


@app.command
def generate(
    prompt: str,
    /,
    *,
    to: str,
    model: str = "",
    image: Annotated[list[str] | None, Parameter(negative=())] = None,
    video: Annotated[list[str] | None, Parameter(negative=())] = None,
    audio: Annotated[list[str] | None, Parameter(negative=())] = None,
    first_frame: str = "",
    last_frame: str = "",
    duration: float = 0,
    aspect_ratio: str = "16:9",
    resolution: str = "default",
    provider: str | None = None,
    credentials: str | None = None,
    key: str = "",
) -> None:
    """Generate one video and land it in the destination.

    Args:
        prompt: What the video shows.
        to: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        model: Model name; the provider's default model when only --provider is given.
        image: Reference image; may be given several times. Named @image1, @image2 … in the prompt.
        video: Reference video; may be given several times.
        audio: Reference audio; may be given several times.
        first_frame: Image that the video starts with.
        last_frame: Image that the video ends with.
        duration: Seconds; 0 takes the model's default.
        aspect_ratio: Width to height.
        resolution: Where the model name does not decide it.
        provider: Name of the provider, see `genvideo providers`; known from the model's name where it is documented.
        credentials: Saved credentials block; else the key comes from the environment, see `genvideo providers`.
        key: Idempotency key; the same key never pays twice.
    """

    async def work() -> None:
        from prefect_genvideo.blocks import resolve_credentials
        from prefect_genvideo.events import flat_parameters
        from prefect_genvideo.flows import generate_video
        from prefect_genvideo.providers import get_provider

        named = provider or provider_of(model)
        payer = await resolve_credentials(credentials_from(named, credentials))
        request = VideoRequest.model_validate(
            {
                "model": model or get_provider(named).default_model,
                "prompt": prompt,
                "duration": duration_or_default(duration),
                "aspect_ratio": aspect_ratio,
                "resolution": None if resolution == "default" else resolution,
                **{"images": image or (), "videos": video or (), "audios": audio or ()},
                **{"first_frame": first_frame or None, "last_frame": last_frame or None},
            }
        )
        # The form's own choices would hide what else is wrong: here all of it is said at once.
        if problems := payer.get_client().validate(request):
            raise InvalidRequestError("The request breaks rules; nothing was sent.", problems=problems, provider=named)
        blocks = {"credentials": payer, "destination": destination_from(to)}
        flow: Any = generate_video
        stored: StoredVideo = await flow(**blocks, idempotency_key=key, **flat_parameters(request))
        say(stored.uri)

    run(work())


@app.command
def models(*, provider: str, credentials: str | None = None) -> None:
    """List the models that the account is offered now, a line each: name, price, what it takes and how that is known.

    Args:
        provider: Name of the provider, see `genvideo providers`.
        credentials: Saved credentials block; else the key comes from the environment.
    """

    async def work() -> None:
        from prefect_genvideo.blocks import ProviderCredentials
        from prefect_genvideo.blocks.session import resolve

        block = await resolve(credentials_from(provider, credentials), ProviderCredentials, "credentials")
        async with block.get_client() as client:
            for model in await client.catalog():
                basis = f"({model.basis})" if model.basis else "(not known here; the provider judges)"
                facts = " · ".join(filter(None, (model.price, str(model.limits))))
                say(f"{shorten(model.name, 200):<28} {shorten(facts, 300)} {basis}")

    run(work())


@app.command
def providers() -> None:
    """List the providers, built-in and installed, with the environment variables that each is set up by."""

    async def work() -> None:
        from prefect_genvideo.blocks import credentials_type
        from prefect_genvideo.providers import get_provider, provider_names

        table = Table("provider", "title", "default model", "environment", box=None)
        for name in provider_names():
            try:
                client, variables = get_provider(name), credentials_type(name).environment().values()
            except GenVideoError as error:
                complain(error)
                continue
            add_row(table, name, client.title, client.default_model, " ".join(variables))
        print_whole(table)

    run(work())


@app.command
def simulate(*, host: str = "127.0.0.1", port: int = 8787, scale: float = 0.1, full_size: bool = False) -> None:
    """Run a local server that speaks both providers' protocols, without a key and without costs.

    Args:
        host: Address to listen on; everybody who reaches it can steer it.
        port: TCP port.
        scale: Simulated generations take their real times multiplied by this; 0 is at once.
        full_size: Render clips in their real resolution.
    """
    with plain_errors():
        needs("simulator", *SIMULATOR)
        from prefect_genvideo.simulator import SimulatorConfig, serve

        serve(host, port, SimulatorConfig(clock="time", scale=scale, full_size=full_size))


@app.command
def demo(*, folder: str = "demo-output", keep: bool = False) -> None:
    """Generate two clips through Prefect into a local S3 server: no key, no costs.

    Args:
        folder: Where local copies and Prefect's database go.
        keep: Leave simulator and S3 server running until Ctrl-C.
    """
    with plain_errors():
        needs("demo", *DEMO)
        from prefect_genvideo.cli.demo import run_demo

        run_demo(folder, keep=keep)


def main() -> None:
    """Entry point of the `genvideo` command."""
    app()
