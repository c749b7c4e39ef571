"""The Flower edge of a device: unpack a message, let the device group answer, pack the reply.

`app` is what `pyproject.toml` names, for `flwr run` and SuperNodes. The folder of the device group comes from
whoever owns the device: `--node-config 'device-group="/FOLDER"'`, or the environment variable
TERRYCLOTH_DEVICE_GROUP. So does the file of its policy: `policy="/FILE"`, or TERRYCLOTH_POLICY, or else
policy.toml in that folder; without one the devices refuse every query. And so do `trainer`, or
TERRYCLOTH_TRAINER: `fast`, or `reference`; and `torch_device`, or TERRYCLOTH_TORCH_DEVICE:
`cpu` or `cuda`.
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
from terrycloth.models.secure_aggregation.exchange import EXCHANGE_RECORD
from terrycloth.models.update import SETTINGS_RECORD, Refusal, pack_reply, unpack_request

logger = logging.getLogger(__name__)

VARIABLE = "TERRYCLOTH_{}"  # of the environment, for what a node's config does not name
GROUP_VARIABLE = VARIABLE.format("DEVICE_GROUP")
TRAINING_FAILED = 1  # code of an error reply
FAILED = "this node cannot answer"  # all that it says


def make_app(
    folder: Path | None = None, *, trainer: str | None = None, torch_device: str | None = None
) -> ClientApp:
    """A ClientApp whose devices live in `folder`, or where the context says. `DeviceGroup` has the rest."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        try:
            with owner_only():
                reply = answer(message.content, open_group(context, folder, trainer, torch_device), context)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            # Its text may hold what a device holds, and where it was raised may depend on that: nothing of it
            # leaves. The owner's own log has the type and the place.
            logger.error("%s: %s at %s", FAILED, type(error).__name__, own_frames(error))
            return Message(Error(code=TRAINING_FAILED, reason=FAILED), reply_to=message)
        return Message(reply, reply_to=message)

    return app


def own_frames(error: BaseException) -> str:
    """Where an exception passed through this project's code: file:line, outermost first, and no values."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{path.name}:{line}" for path, line in frames if path.parent.name in ("client", "models")]
    return " > ".join(own)


def open_group(
    context: Context, folder: Path | None, trainer: str | None = None, torch_device: str | None = None
) -> DeviceGroup:
    """The device group of this node. Raises ValueError where the device's owner has not said where it is.

    Nothing here comes from the run's config: that is the server's to write.
    """
    node = context.node_config
    named = folder or owned(context, "device-group")
    # Each node unpacks the app into a folder of its own and works there, so a relative path means nothing.
    if named is None or not named.is_absolute():
        raise ValueError("no absolute folder is named as device-group")
    return DeviceGroup(
        named,
        int(node.get("partition-id", 0)),
        int(node.get("num-partitions", 1)),
        policy=owned(context, "policy"),
        trainer=trainer or str(owned(context, "trainer") or "fast"),
        torch_device=torch_device or str(owned(context, "torch_device") or "cpu"),
    )


def owned(context: Context, name: str) -> Path | None:
    """A file that the device's owner named, in the node's config or as TERRYCLOTH_<NAME>."""
    named = context.node_config.get(name, os.environ.get(VARIABLE.format(name.upper().replace("-", "_"))))
    return None if named is None else Path(str(named))


def answer(content: RecordDict, group: DeviceGroup, context: Context) -> RecordDict:
    """Settings that a device does not know in full are refused, whatever they say."""
    if EXCHANGE_RECORD in content:
        return SecureNode(group, owned(context, "identity"), owned(context, "roster")).answer(content)
    try:
        request = unpack_request(content)
    except (ValueError, KeyError, TypeError):
        asked = content.get(SETTINGS_RECORD)
        round = asked.get("round") if isinstance(asked, ConfigRecord) else None
        return pack_reply(group.refuse(round if isinstance(round, int) else 0, Refusal.SETTINGS))
    return pack_reply(group.answer(request))


app = make_app()
