"""The process that runs the rounds of a federation: the installed ServerApp, over Flower's runtime interface.

Flower would have an executor unpack the bundle that somebody submitted and run it with the server's rights.
Here the process that asks for a run also takes its task, and runs the ServerApp that is installed. A task of
any other run is refused. It was written for flwr 1.42, as `server.link.listeners` was.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from flwr.app import Context, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.serverapp import ServerApp
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors.http import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http import SuperExecAuthHttpInterceptor as ExecutorInterceptor
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from terrycloth.models.errors import UserError
from terrycloth.server.link.operator import SECONDS, Operator

POLL = 0.2  # seconds between questions for replies
SECONDS_TO_RETURN = 60.0  # that a server may be away before a run is given up
SECONDS_TO_ACQUIRE = 30.0
FOREIGN = "refused a run that this operator did not start: only the installed app runs here"

logger = logging.getLogger(__name__)


class Rounds(HttpGrid):
    """Flower's Grid, over a connection that verifies the server's key and asks for replies more often."""

    def __init__(self, operator: Operator, token: str) -> None:
        super().__init__(operator.address, token=token)
        self._retry_invoker.max_time = SECONDS_TO_RETURN
        self._client = _client(operator, RuntimeTokenHttpInterceptor(token=token), retry=self._retry_invoker)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages, and return the replies that arrive within `timeout` seconds."""
        waiting = {message for message in self.push_messages(list(messages)) if message}
        until = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while waiting and (until is None or time.monotonic() < until):
            found = list(self.pull_messages(waiting))
            replies += found
            waiting -= {reply.metadata.reply_to_message_id for reply in found}
            if waiting and not found:
                time.sleep(POLL)
        return replies


def run(operator: Operator, app: ServerApp, run_config: Mapping[str, Any]) -> None:
    """Start a run, and be its ServerApp until its last round.

    Raises what the app raises; the server then knows the run as failed. Raises UserError if the server does
    not answer.
    """
    number = operator.start_run()
    with acquired(operator, number) as (grid, finish):
        context = Context(
            run_id=number,
            node_id=SUPERLINK_NODE_ID,
            node_config={},
            state=RecordDict(),
            run_config=dict(run_config),
        )
        app(grid, context)
        finish()


@contextmanager
def acquired(operator: Operator, number: int) -> Iterator[tuple[Rounds, Callable[[], None]]]:
    """Take the task of a run for the block, and give its Grid and what marks the run as completed."""
    outcome = [SubStatus.FAILED, "the operator's process ended before the last round"]

    def finish() -> None:
        outcome[:] = [SubStatus.COMPLETED, ""]

    grid = Rounds(operator, task_token(operator, number))
    heart = HeartbeatSender(make_task_heartbeat_fn_http(grid._runtime_client))
    try:
        given = grid._runtime_client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        grid.set_run(run_from_proto(given.run))
        heart.start()
        yield grid, finish
    except httpx.TransportError:
        raise UserError(
            f"the server at {operator.address} did not answer for {SECONDS_TO_RETURN:g} seconds: start it "
            "again, and continue the run"
        ) from None
    finally:
        if heart.is_running:
            heart.stop()
        grid._retry_invoker.max_tries = 1
        _end(grid._runtime_client, *outcome)
        grid.close()


def task_token(operator: Operator, number: int) -> str:
    """Return the token of a run's task. Tasks of other runs are marked as failed, and not looked into."""
    signed = ExecutorInterceptor(
        master_secret=operator.token.encode(), protected_methods=["/flwr.proto.Runtime/AcquireTask"]
    )
    client = _client(operator, signed)
    until = time.monotonic() + SECONDS_TO_ACQUIRE
    try:
        while time.monotonic() < until:
            answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
            if not answer.token:
                time.sleep(POLL)
            elif answer.task.run_id == number:
                return str(answer.token)
            else:
                logger.warning(FOREIGN)
                other = _client(operator, RuntimeTokenHttpInterceptor(token=answer.token))
                _end(other, SubStatus.FAILED, FOREIGN)
                other.close()
    finally:
        client.close()
    raise UserError("another process runs the rounds of this run: stop it, and start again")


def _end(client: RuntimeHttpClient, status: str, details: str) -> None:
    """Tell the server how a task ended, if it can be reached."""
    try:
        client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))
    except (httpx.HTTPError, RuntimeError):
        logger.warning("the server could not be told that the run is over")


def _client(operator: Operator, interceptor: Any, retry: Any = None) -> RuntimeHttpClient:
    client = RuntimeHttpClient(
        operator.url,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"), interceptor],
        verify=False if operator.tls is None else operator.tls,
        timeout=SECONDS,
        retry_invoker=retry or make_simple_http_retry_invoker(),
    )
    client._client.follow_redirects = False
    return client
