"""`genvideo`: make videos, look after the ledger and an installation, run the simulator and the demo."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError, Parameter

from prefect_genvideo.cli.bill import bill, spend
from prefect_genvideo.cli.console import USAGE, command, complain, give, needs, plain_errors, show
from prefect_genvideo.cli.demo import SIMULATOR, demo
from prefect_genvideo.cli.doctor import doctor
from prefect_genvideo.cli.ledger import ledger_app
from prefect_genvideo.cli.listen import listen
from prefect_genvideo.cli.make import batch, check, generate
from prefect_genvideo.cli.plan import approve, plan
from prefect_genvideo.cli.project import deploy, init
from prefect_genvideo.cli.targets import credentials_from
from prefect_genvideo.errors import GenVideoError, shorten

# Columns; a longer name pushes its own line alone.
_WIDEST_NAME = 60

app = App(
    name="genvideo",
    help="AI video generation that is never paid for twice and never lost.",
    # What is off or empty unless it is given needs no words in the help.
    default_parameter=Parameter(show_default=lambda value: None if value in (False, "", None) else value),
)
app.register_install_completion_command()  # pyright: ignore[reportUnknownMemberType] - its **kwargs have no type
app.command(ledger_app)
for known in (generate, check, plan, approve, bill, spend, batch, doctor, init, deploy, listen, demo):
    app.command(known)


@app.command
@command
async def models(*, provider: str, credentials: str | None = None) -> None:
    """List the models that the account is offered now, a line each: name, price, what it takes and how that is known.

    Args:
        provider: Name of the provider, see `genvideo providers`.
        credentials: Saved credentials block; else the key comes from the environment.
    """
    from prefect_genvideo.blocks import resolve_credentials

    block = await resolve_credentials(credentials_from(provider, credentials))
    async with block.get_client() as client:
        try:
            catalog = await client.catalog()
        except GenVideoError as error:
            complain(f"{client.base_url} did not give its models: {error.reason or 'see below'}")
            raise
        width = min(max((len(model.name) for model in catalog), default=0), _WIDEST_NAME)
        for model in catalog:
            basis = f"({model.basis})" if model.basis else "(not known here; the provider judges)"
            facts = " · ".join(filter(None, (model.price, str(model.limits))))
            give(
                f"{shorten(model.name, 200):<{width}}  {shorten(facts, 300)} {basis}",
                {"model": model.name, "price": model.price, "limits": str(model.limits), "basis": model.basis},
            )


@app.command
@command
async def providers() -> None:
    """List the providers, built-in and installed, with the environment variables that each is set up by."""
    from prefect_genvideo.blocks import credentials_type
    from prefect_genvideo.providers import get_provider, provider_names

    rows: list[tuple[str, ...]] = []
    for name in provider_names():
        try:
            client, variables = get_provider(name), credentials_type(name).environment().values()
        except GenVideoError as error:
            complain(error)
            continue
        rows.append((name, client.title, client.default_model, " ".join(variables)))
    show(("provider", "title", "default model", "environment"), rows)


@app.command
def simulate(*, host: str = "127.0.0.1", port: int = 8787, scale: float = 0.1, full_size: bool = False) -> None:
    """Run a local server that speaks the providers' protocols, without a key and without costs.

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


def main() -> None:
    """Entry point of the `genvideo` command."""
    try:
        app(sys.argv[1:], exit_on_error=False)
    except CycloptsError:  # cyclopts has said what is wrong
        sys.exit(USAGE)
