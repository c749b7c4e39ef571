"""terry device: what the owner of a device runs."""

import typer

import terrycloth.experiments.commands.device_store as device_store

app = typer.Typer(
    no_args_is_help=True,
    help="Keep a device's events in a store of its own: consent, receipts, erasure.",
    epilog="Example: terry device show my-device",
)
app.add_typer(device_store.app)
