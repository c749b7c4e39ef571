"""The Flower ClientApp of a node: it unpacks a message, lets the device group answer, and packs the reply.

`pyproject.toml` names `app`, for `flwr run` and SuperNodes. The owner of the devices sets the following, in
`--node-config` or as environment variables:

    device-group="/FOLDER"   or TERRYCLOTH_DEVICE_GROUP: the folder of the device group, an absolute path
    policy="/FILE"           or TERRYCLOTH_POLICY: the policy file; by default policy.toml in that folder.
                             Without a policy file the devices refuse every query
    trainer                  or TERRYCLOTH_TRAINER: `fast` (the default) or `reference`
    torch_device             or TERRYCLOTH_TORCH_DEVICE: `cpu` (the default) or `cuda`
"""

import logging
import os
import traceback
from pathlib import Path

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.secure.secure_round import SecureNode
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError
from terrycloth.models.secure_aggregation.exchange import EXCHANGE_RECORD
from terrycloth.models.update import SETTINGS_RECORD, Refusal, pack_reply, unpack_request

# The folders whose frames are logged.
OWN_FOLDERS = [Path(__file__).resolve().parents[1] / name for name in ("client", "models")]

logger = logging.getLogger(__name__)

VARIABLE = "TERRYCLOTH_{}"  # environment variable for a value that the node's config does not set
GROUP_VARIABLE = VARIABLE.format("DEVICE_GROUP")
TRAINING_FAILED = 1  # code of an error reply
FAILED = "this node cannot answer"  # the whole text of an error reply


def make_app(
    folder: Path | None = None, *, trainer: str | None = None, torch_device: str | None = None
) -> ClientApp:
    """Return a ClientApp for the device group in `folder`.

    trainer, torch_device: as for `DeviceGroup`. By default all three come from the owner, see `open_group`.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        try:
            with owner_only():
                reply = answer(message.content, open_group(context, folder, trainer, torch_device), context)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            # The error's text may contain private data, and its place may depend on private data, so neither
            # leaves the node. The owner's own log records its type and place, and what the owner can mend.
            what = str(error) if isinstance(error, UserError) else type(error).__name__
            logger.error("%s: %s at %s", FAILED, what, own_frames(error))
            return Message(Error(code=TRAINING_FAILED, reason=FAILED), reply_to=message)
        return Message(reply, reply_to=message)

    return app


def own_frames(error: BaseException) -> str:
    """The exception's path through this project's code: file:line, outermost first, without any values."""
    found = traceback.extract_tb(error.__traceback__)
    frames = [(Path(frame.filename).resolve(), frame.lineno) for frame in found]
    own = [f"{path.name}:{line}" for path, line in frames if any(map(path.is_relative_to, OWN_FOLDERS))]
    return " > ".join(own)


def open_group(
    context: Context, folder: Path | None, trainer: str | None = None, torch_device: str | None = None
) -> DeviceGroup:
    """Open the device group of this node. Raises ValueError if its owner has not set an absolute folder.

    Nothing here is read from the run's config, because the server writes that.
    """
    node = context.node_config
    group_folder = folder or owned(context, "device-group")
    # Each node unpacks the app into its own folder and runs there, so a relative path is meaningless.
    if group_folder is None or not group_folder.is_absolute():
        raise ValueError("device-group is not set to an absolute path")
    return DeviceGroup(
        group_folder,
        int(node.get("partition-id", 0)),
        int(node.get("num-partitions", 1)),
        policy=owned(context, "policy"),
        trainer=trainer or str(owned(context, "trainer") or "fast"),
        torch_device=torch_device or str(owned(context, "torch_device") or "cpu"),
    )


def owned(context: Context, name: str) -> Path | None:
    """The value that the owner set in the node's config or as TERRYCLOTH_<NAME>; None if there is none."""
    value = context.node_config.get(name, os.environ.get(VARIABLE.format(name.upper().replace("-", "_"))))
    return None if value is None else Path(str(value))


def answer(content: RecordDict, group: DeviceGroup, context: Context) -> RecordDict:
    """Return the reply to a message. Settings that this version does not know in full are refused."""
    if EXCHANGE_RECORD in content:
        return SecureNode(group, owned(context, "identity"), owned(context, "roster")).answer(content)
    try:
        request = unpack_request(content)
    except (ValueError, KeyError, TypeError):
        settings = content.get(SETTINGS_RECORD)
        round = settings.get("round") if isinstance(settings, ConfigRecord) else None
        return pack_reply(group.refuse(round if isinstance(round, int) else 0, Refusal.SETTINGS))
    return pack_reply(group.answer(request))


app = make_app()
