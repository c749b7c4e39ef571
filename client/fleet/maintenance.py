"""What a serving device does by the clock alone: it deletes old events, and fetches the published list.

A thread of its own looks at the clock once a minute. It never looks at messages, so that when a list is
fetched tells nobody whether the device takes part in a run.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from terrycloth.client.store import STORE_FILE, DeviceStore
from terrycloth.client.task_list import TaskList
from terrycloth.models.errors import UserError
from terrycloth.models.tasks.published import UnusableList
from terrycloth.models.times import DAY

LOOK = 60.0  # seconds between two looks at the clock
AGAIN = 3600.0  # seconds after an attempt to fetch before the next one

logger = logging.getLogger(__name__)


class Maintenance:
    """The regular tasks of the device group in a folder.

    source: URL or folder of the published list of tasks; empty: none is fetched. clock: returns seconds since
    1970.
    """

    def __init__(self, folder: Path, source: str, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.source = source
        self.clock = clock
        self.expired = self.tried = -inf  # when it last deleted events, and last tried to fetch

    def do_what_is_due(self) -> None:
        """Delete old events once a day, and fetch the list when `TaskList.due` says so, or later if it fails.

        A failure is one line of the log.
        """
        now = self.clock()
        # A clock that was set back must not put off either until the time that it once showed.
        if not 0 <= now - self.expired < DAY:
            self.expired = now
            self.attempt("old events were not deleted", self.expire)
        if self.source and not 0 <= now - self.tried < AGAIN:
            self.attempt("the list of tasks was not fetched", self.fetch_if_due)

    def expire(self) -> None:
        """Delete the events past the retention, if the folder holds a store."""
        if (self.folder / STORE_FILE).exists():
            DeviceStore(self.folder, self.clock).expire()

    def fetch_if_due(self) -> None:
        """Fetch the published list, if that is due. Raises UnusableList if there is none to rely on."""
        before, self.tried = self.tried, self.clock()
        if not TaskList.open(self.folder).due(self.tried):
            self.tried = before
            return
        from terrycloth.client.task_fetch import fetch  # needs the extra `federation`

        fetch(self.folder, self.source, self.tried)
        logger.info("%s: fetched the list of tasks", self.folder.name)

    def attempt(self, failure: str, do: Callable[[], None]) -> None:
        """Do something, and log in one line why it failed."""
        try:
            do()
        except Exception as error:  # whatever it is, the device goes on serving
            known = isinstance(error, UserError | UnusableList)  # other texts may hold what is private
            why = " ".join(str(error).split()) if known else type(error).__name__
            logger.warning("%s: %s: %s", self.folder.name, failure, why)


def maintain(all_due: Sequence[Maintenance], stop: threading.Event) -> None:
    """Do what is due for each device group, once a minute until `stop` is set."""
    while not stop.is_set():
        for each in all_due:
            each.do_what_is_due()
        stop.wait(LOOK)
