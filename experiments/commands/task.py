"""terry task: publish what devices may be asked, witness it, list it, and verify it as a device does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = 'Example: terry task publish list --key brand.pem --run runs/towels --title "towels for autumn"'

app = typer.Typer(
    no_args_is_help=True,
    help="Publish what devices may be asked, before they are asked: a signed list that only grows.",
    epilog=EXAMPLE,
)

ListFolderPath = Annotated[Path, typer.Argument(metavar="LIST", help="folder of the published list")]


@contextmanager
def needs_tuf() -> Iterator[None]:
    """Raise UserError if the libraries that sign and verify are not installed, or a list is unusable."""
    from terrycloth.models.errors import UserError
    from terrycloth.models.tasks.published import UnusableList

    try:
        import tuf  # noqa: F401
    except ModuleNotFoundError:
        raise UserError(
            'terry task needs The Update Framework: pip install "terrycloth[federation]"'
        ) from None
    try:
        yield
    except UnusableList as error:
        raise UserError(str(error)) from None


@app.command("keys", epilog="Example: terry task keys brand")
def keys(
    name: Annotated[Path, typer.Argument(help="path of the keys, without an ending")],
) -> None:
    """Create a key pair: NAME.pem signs, and stays with its owner; NAME.pub is for everybody.

    A list has three: that of the root, which can replace the other two and is needed rarely; the brand's; and
    the witness's, which the witness creates. Keep none of the three NAME.pem on the server.
    """
    with needs_tuf():
        from terrycloth.experiments.tasks.keys import create_keys

        private, public = create_keys(name)
    print(f"{private}: the private key, for its owner only")
    print(f"{public}: the public key")


@app.command(
    "root", epilog="Example: terry task root list --key root.pem --brand brand.pub --witness witness.pub"
)
def root(
    folder: ListFolderPath,
    key: Annotated[Path, typer.Option(help="private key of the root")],
    brand: Annotated[Path, typer.Option(help="public key of the brand")],
    witness: Annotated[
        Path | None,
        typer.Option(help="public key of the witness, whose signature the list then needs too",
                     show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Begin a list, or give it other keys: say which keys sign it.

    Owners of devices pin LIST/metadata/1.root.json and the witness's public key. Another brand key takes
    effect with the next terry task publish. A device that pinned a witness refuses a list without it.
    """
    with needs_tuf():
        from terrycloth.experiments.tasks.keys import load_public, load_signer
        from terrycloth.experiments.tasks.list_folder import ListFolder
        from terrycloth.experiments.tasks.publish import write_root

        public = None if witness is None else load_public(witness)
        version = write_root(ListFolder(folder), load_signer(key), load_public(brand), public, time.time())
    print(f"{folder / 'metadata' / f'{version}.root.json'}: version {version} of the root")
    if witness is None:
        print("no witness: the brand and its server can show different lists to different devices")


@app.command("publish", epilog=EXAMPLE)
def publish(
    folder: ListFolderPath,
    key: Annotated[Path, typer.Option(help="private key of the brand")],
    run: Annotated[
        Path | None,
        typer.Option(help="publish a task with the settings of this run folder, or of this run config for "
                          "Flower (TOML)", show_default=False),
    ] = None,
    notice: Annotated[bool, typer.Option("--notice", help="publish a notice, whose text is --title")] = False,
    renew: Annotated[bool, typer.Option("--renew", help="sign the list anew before it expires")] = False,
    title: Annotated[
        str | None, typer.Option(help="what a shopper reads of the entry", show_default=False)
    ] = None,
    most_runs: Annotated[
        int | None, typer.Option(help="number of runs in which a device answers for the task", min=1,
                                 show_default="as many as the ledger allows"),
    ] = None,
    days: Annotated[float, typer.Option(help="days until the signatures expire", min=1, max=365)] = 30.0,
) -> None:  # fmt: skip
    """Sign the list with one more entry: a task (--run), a notice (--notice), or none (--renew).

    Entries are never changed or removed. With a witness the list is complete only after terry task witness;
    copy the folder to where devices fetch it after that.
    """
    from terrycloth.models.errors import UserError

    if (run is not None) + notice + renew != 1:
        raise UserError("name one thing to publish: --run RUN, --notice, or --renew")
    if (title is None) != renew:
        raise UserError("--title says what the entry is: give it with --run or --notice, and leave it out of "
                        "--renew")  # fmt: skip
    if most_runs is not None and run is None:
        raise UserError("--most-runs is for a task: give it with --run")
    with needs_tuf():
        from terrycloth.experiments.reports.phases import phase
        from terrycloth.experiments.tasks.keys import load_signer
        from terrycloth.experiments.tasks.list_folder import ListFolder
        from terrycloth.experiments.tasks.publish import entry_for
        from terrycloth.experiments.tasks.publish import publish as sign_and_write

        now = time.time()
        signer = load_signer(key)
        with phase("reading the settings"):
            entry = None if title is None else entry_for(title, run, most_runs, now)
        entries = sign_and_write(ListFolder(folder), signer, entry, now, days)
    print(f"{folder}: {entries} entries, signed by the brand for {days:g} days")


@app.command("witness", epilog="Example: terry task witness list --key witness.pem --record signed.json")
def witness(
    folder: ListFolderPath,
    key: Annotated[Path, typer.Option(help="private key of the witness")],
    record: Annotated[
        Path, typer.Option(help="file of the list that this witness signed last, which it keeps")
    ],
) -> None:
    """Sign the newest list as its witness, if it extends the last one that was signed.

    Entries that were signed must be there, unchanged; new ones must be dated after the last signature. A
    witness keeps the record: with another, it could sign two lists that contradict each other.
    """
    with needs_tuf():
        from terrycloth.experiments.tasks.keys import load_signer
        from terrycloth.experiments.tasks.list_folder import ListFolder
        from terrycloth.experiments.tasks.witness import witness as sign

        entries = sign(ListFolder(folder), load_signer(key), record, time.time())
    print(f"{folder}: {entries} entries, signed by the witness")


@app.command("list", epilog="Example: terry task list list")
def list_entries(
    folder: Annotated[Path, typer.Argument(help="folder of a published list, or of a device group")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """List the tasks and notices that were published, or that a device keeps."""
    with needs_tuf():
        from terrycloth.experiments.tasks.listing import print_list, read_shown

        print_list(read_shown(folder), as_json=as_json)


@app.command(
    "verify",
    epilog="Example: terry task verify https://towels.example/tasks devices --root root.json "
    "--witness witness.pub",
)
def verify(
    source: Annotated[str, typer.Argument(help="URL or folder of the published list")],
    group: Annotated[Path, typer.Argument(help="folder of the device group that keeps the list")],
    root: Annotated[Path | None, typer.Option(help="root to pin, the first time", show_default=False)] = None,
    witness: Annotated[
        Path | None,
        typer.Option(help="public key of the witness to pin, the first time", show_default=False),
    ] = None,
) -> None:
    """Fetch the list as a device does, verify it, and keep it in the device group's folder.

    Nothing is kept of a list that fails: the device goes on with its last one until that expires.
    """
    from terrycloth.models.errors import UserError

    if not group.is_dir():
        raise UserError(f"{group} is not a folder: name that of a device group")
    if witness is not None and root is None:
        raise UserError("--witness is pinned together with --root: give both")
    with needs_tuf():
        from terrycloth.client.task_fetch import fetch, pin
        from terrycloth.client.task_list import TASKS_FOLDER
        from terrycloth.experiments.reports.phases import phase
        from terrycloth.models.times import moment

        if root is not None:
            try:
                pin(group, root.read_bytes(), None if witness is None else witness.read_bytes())
            except OSError as error:
                raise UserError(
                    f"{error.filename} cannot be read: name the root and the key of a list"
                ) from None
        with phase("fetching the list"):
            kept = fetch(group, source, time.time()).kept
    assert kept is not None
    entries, until = len(kept.published.entries), moment(kept.expires)
    print(f"{group}: {entries} entries, verified, valid until {until:%Y-%m-%d}")
    if not (group / TASKS_FOLDER / "witness.pub").exists():
        print("no witness is pinned: the brand and its server can show this device a list of its own")
