"""terry device init, add-events, show, consent, withdraw, erase, export: the store of one device."""

from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.client.receipts import TRAINING
from terrycloth.experiments.commands.flags import Delta, Epsilon, Trust, Unit
from terrycloth.models.errors import UserError

app = typer.Typer()

Folder = Annotated[Path, typer.Argument(help="folder of the device")]
Purpose = Annotated[str, typer.Option(help="what the consent is to")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
NAMED_PURPOSES = "the purpose that terrycloth asks about is training"


@app.command("init", epilog="Example: terry device init my-device --catalogue runs/latest/catalogue.parquet")
def init(
    folder: Folder,
    catalogue: Annotated[Path, typer.Option(help="catalogue.parquet of a run, or a table of items")],
    policy: Annotated[
        Path | None, typer.Option(help="policy.toml to copy; by default one for the promise below",
                                  show_default=False)] = None,
    key_file: Annotated[
        bool, typer.Option("--key-file", help="keep the key in FOLDER/store.key, not in the key ring")
    ] = False,
    retention_days: Annotated[
        int | None, typer.Option(help="days after which events are deleted", min=1, show_default="never")
    ] = None,
    unit: Unit = "interaction",
    trust: Trust = None,
    epsilon: Epsilon = None,
    delta: Delta = "1e-5",
) -> None:  # fmt: skip
    """Make a device's folder, with an encrypted store that holds no event and no consent yet."""
    values: dict[str, Any] = {"unit": unit, "trust": trust, "epsilon": epsilon, "delta": delta}
    from terrycloth.experiments.settings.config import read_config

    config = read_config(None, values, [])
    from terrycloth.client.policy import Policy, PolicyUnreadable
    from terrycloth.client.store import DeviceStore
    from terrycloth.experiments.datasets.catalogue_file import read_catalogue
    from terrycloth.experiments.datasets.import_report import ImportReport
    from terrycloth.experiments.datasets.tables import open_table
    from terrycloth.experiments.settings.planning import owner_policy
    from terrycloth.models.catalogue import Catalogue

    try:
        allowed = Policy.load(policy.resolve()) if policy else owner_policy(config, devices=1)
    except PolicyUnreadable as reason:
        raise UserError(f"{policy} cannot be used as a policy: {reason}") from None
    table = open_table(catalogue)
    ours = table.columns[:2] == ["item", "title"] and table.csv is None and table.sheet is None
    items = Catalogue.load(catalogue) if ours else read_catalogue(table, "item", ImportReport(str(catalogue)))
    try:
        DeviceStore.create(folder, items, allowed, key_file=key_file, retention_days=retention_days)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): free some space, or choose another folder"
        ) from None
    print(f"{folder}: a store for one device, {len(items):,} items in its catalogue")
    print(f"its key is in {folder / 'store.key'}" if key_file else "its key is in the system's key ring")
    print(f"{folder / 'policy.toml'}: what the device allows")
    print(f"it trains once its shopper consents: terry device consent {folder} --version VERSION")


@app.command("add-events", epilog="Example: terry device add-events my-device --item towel-17")
def add_events(
    folder: Folder,
    file: Annotated[
        Path | None, typer.Argument(help="table with the columns item, time and weight (1 if there is none)")
    ] = None,
    item: Annotated[str | None, typer.Option(help="one item instead of a file", show_default=False)] = None,
    time: Annotated[str | None, typer.Option(help="when it was bought, such as 2026-05-31T14:00",
                                             show_default="now")] = None,
    weight: Annotated[float, typer.Option(help="quantity bought, or rating")] = 1.0,
) -> None:  # fmt: skip
    """Add what the shopper bought. It counts from the next question on, also while the device is serving."""
    if (file is None) == (item is None):
        raise UserError("say what to add: either a file or --item")
    if not 0 < weight < float("inf"):
        raise UserError(f"--weight {weight:g} is not above 0: give a quantity or a rating")
    store = _store(folder)
    from terrycloth.client.policy import PolicyUnreadable, policy_of
    from terrycloth.experiments.datasets.device_events import read_device_events
    from terrycloth.models.catalogue import ITEM, Catalogue

    rows = read_device_events(file) if file else [(str(item), _seconds(time, store.clock()), weight)]
    try:
        most = policy_of(folder.resolve(), None).most_events
    except PolicyUnreadable as reason:
        raise UserError(f"{folder / 'policy.toml'} cannot be used: {reason}") from None
    held = store.add_events(rows, most)
    print(f"{folder}: {len(rows):,} events added, {held:,} held")
    if held == most:
        print(f"no more are kept than the {most:,} newest: most_events in {folder / 'policy.toml'}")
    known = set(Catalogue.load(folder / "catalogue.parquet").table[ITEM])
    if unknown := sum(name not in known for name, _, _ in rows):
        print(f"{unknown:,} of them are of items that the catalogue does not list, so they do not count")


@app.command("show", epilog="Example: terry device show my-device")
def show(
    folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False
) -> None:
    """Show what the device holds, what was consented to, what left it, and what that cost."""
    store = _store(folder)
    import json

    from terrycloth.experiments.reports.device_store import contents, print_store

    if as_json:
        print(json.dumps(contents(store), indent=2, ensure_ascii=False))
    else:
        print_store(store)


@app.command("consent", epilog="Example: terry device consent my-device --version 2026-05")
def consent(
    folder: Folder,
    version: Annotated[str, typer.Option(help="version of the notice that the shopper has read")],
    purpose: Purpose = TRAINING,
) -> None:
    """Record that the shopper consents; without a consent to training the device answers no query."""
    if not version.strip() or not purpose.strip():
        raise UserError(f"name the purpose and the version of the notice; {NAMED_PURPOSES}")
    _store(folder).give_consent(version, purpose)
    print(f"{folder}: consent to {purpose}, notice version {version}")
    print(f"to withdraw: terry device withdraw {folder}")


@app.command("withdraw", epilog="Example: terry device withdraw my-device")
def withdraw(folder: Folder, purpose: Purpose = TRAINING) -> None:
    """Withdraw a consent. It takes effect at once, also for an answer that is being computed."""
    if not _store(folder).withdraw(purpose):
        raise UserError(
            f"{folder} holds no consent to {purpose}: there is none to withdraw; {NAMED_PURPOSES}"
        )
    print(f"{folder}: consent to {purpose} withdrawn; what was sent before cannot be taken back")


@app.command("erase", epilog="Example: terry device erase my-device --before 2025-01-01")
def erase(
    folder: Folder,
    before: Annotated[str | None, typer.Option(help="erase only events before this time",
                                               show_default=False)] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="remove the store and its key; the device never answers again")
    ] = False,
    yes: Yes = False,
) -> None:  # fmt: skip
    """Erase events, and the vector and the stored answer that came from them.

    The ledger stays, because what was spent cannot be taken back; receipts and consents stay as evidence.
    With --all they go too.
    """
    if everything and before:
        raise UserError("--all erases the whole store: leave out --before")
    store = _store(folder)
    until = None if before is None else _seconds(before, 0.0)
    what = (
        "the store and its key, for ever"
        if everything
        else "events before " + before
        if before
        else "all events"
    )
    if not (yes or _confirmed(f"Erase {what} of {folder}?")):
        raise UserError("nothing was erased: answer y, or add --yes")
    if everything:
        store.destroy()
        print(f"{folder}: the store and its key are gone; remove the folder when you like")
        return
    print(f"{folder}: {store.erase(until):,} events erased, and what was learned from them")


@app.command("export", epilog="Example: terry device export my-device my-data.json")
def export(folder: Folder, file: Annotated[Path, typer.Argument(help="new file; it is private")]) -> None:
    """Write everything that the store holds about its shopper as JSON (GDPR, Art. 15 and 20)."""
    if file.exists():
        raise UserError(f"{file} exists: name a new file")
    store = _store(folder)
    from terrycloth.experiments.reports.device_store import export

    export(store, file)
    print(f"{file}: what {folder} holds; the file is private, and not encrypted")


def _store(folder: Path) -> Any:
    """Open a device's store. Raises UserError if the folder holds none."""
    from terrycloth.client.store import STORE_FILE, DeviceStore

    if not (folder / STORE_FILE).is_file():
        raise UserError(f"{folder} holds no device's store: make one with terry device init")
    return DeviceStore(folder)


def _confirmed(question: str) -> bool:
    """Ask on standard error. Where nobody can answer, the answer is no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False


def _seconds(text: str | None, now: float) -> int:
    """Return a time that the user wrote in seconds since 1970, in UTC where it names no zone."""
    from datetime import UTC, datetime

    if text is None:
        return int(now)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text!r} is not a time: write it as 2026-05-31 or 2026-05-31T14:00") from None
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())
