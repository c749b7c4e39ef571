"""Which replies of a round are looked at: the first of each node that was asked."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from flwr.app import Message

NODE_FAILED = "node failed"
NOT_ASKED = "reply of a node that was not asked"
SECOND = "second reply of a node"

logger = logging.getLogger(__name__)


def first_replies(
    replies: Iterable[Message], asked: Collection[int], invalid: Counter[str]
) -> Iterator[tuple[int, Message]]:
    """Yield each asked node's first reply, with the node. All other replies are counted and named in the log.

    invalid: receives the counts by reason. Nothing that a node wrote is logged, only its number and the
    number of its error.
    """
    heard: set[int] = set()
    for message in replies:
        node = message.metadata.src_node_id
        if message.has_error():
            invalid[NODE_FAILED] += 1
            logger.warning("node %d failed with error %d", node, message.error.code)
        elif node not in asked:
            refuse(node, NOT_ASKED, invalid)
        elif node in heard:
            refuse(node, SECOND, invalid)
        else:
            heard.add(node)
            yield node, message


def refuse(node: int, reason: str, invalid: Counter[str]) -> None:
    """Count a reply that is not used, and name its node in the log."""
    invalid[reason] += 1
    logger.warning("refused a reply of node %d: %s", node, reason)
