"""Flower without other processes: a Grid that passes each message directly to the ClientApp."""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

import terrycloth.server.app
from terrycloth.server.strategy import RoundObserver


class InProcessGrid(Grid):
    """A Grid of nodes 1 … n in one run. Each has its own context, and they reply in turn in this process."""

    def __init__(self, app: ClientApp, run_config: Mapping[str, Any], nodes: int) -> None:
        self._app = app
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": node - 1, "num-partitions": nodes},
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for node in range(1, nodes + 1)
        }
        self._ids = count(1)
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Any) -> None:
        """Do nothing, because there is only one run."""

    @property
    def run(self) -> Any:
        """Raise NotImplementedError, because only a SuperLink keeps a record of a run."""
        raise NotImplementedError("an in-process grid has no SuperLink to hold a run")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message as Flower's own grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids 1 … n of all nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have each node reply at once, and keep the replies for `pull_messages`. Returns message ids."""
        pushed = []
        for message in messages:
            message_id = str(next(self._ids))
            self._replies[message_id] = self._app(message, self._contexts[message.metadata.dst_node_id])
            pushed.append(message_id)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages; each reply is returned only once."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send the messages and return the replies. There is nothing to wait for, so timeout is ignored."""
        return self.pull_messages(self.push_messages(messages))


def be_the_server() -> None:
    """Set the identity that a SuperLink would set, because Flower's messages read their sender from it."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID


def run(app: ClientApp, run_config: Mapping[str, Any], nodes: int, on_round: RoundObserver) -> None:
    """Run all rounds in this process. Every node is one `InProcessGrid` node."""
    be_the_server()
    grid = InProcessGrid(app, run_config, nodes)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=dict(run_config))
    terrycloth.server.app.make_app(on_round)(grid, context)
