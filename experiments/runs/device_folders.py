"""What stands for the disks of a run's devices: the folders of its device groups.

In a federation a device group of one device keeps a store, as the device of a shopper does. All other device
groups keep arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.policy import Policy
from terrycloth.client.secure.secure_round import lay_out_identities
from terrycloth.client.store import DeviceStore
from terrycloth.experiments.federation.layout import Layout
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.settings.planning import asked_settings
from terrycloth.models.catalogue import ITEM, Catalogue
from terrycloth.models.errors import UserError

if TYPE_CHECKING:
    from terrycloth.experiments.runs.simulation import RunPlan

NOTICE = "made by terry federation init"  # the version of the notice that a simulated shopper consents to


def lay_out_devices(plan: RunPlan, folder: RunFolder) -> None:
    """Write the devices' own data, policy and, if needed, the identities of nodes.

    Raises UserError if devices with stores are to count hits on held-out items.
    """
    config, catalogue = plan.config, plan.dataset.catalogue
    policy = Policy.allowing(asked_settings(config, plan.promise), catalogue, config.most_events)
    in_federation = config.engine == "federation"
    for path, (start, stop) in device_groups(plan, folder):
        events = plan.split.train.span(start, stop)
        if in_federation and stop - start == 1:
            if config.evaluate == "released":
                raise UserError(
                    "a device with its own store holds no item out, so it cannot count hits: leave out"
                    " evaluate = released, or put several devices into a group with --nodes"
                )
            create_store(path, catalogue, events, policy, config.seed, start)
        else:
            targets = plan.split.test.targets.span(start, stop)
            DeviceGroup.create(path, catalogue, events, policy, config.seed, targets, start)
    if in_federation:
        return  # which makes a key for each node, and a roster of them
    if config.trust_model.secure_aggregation and config.secure_aggregation:
        lay_out_identities(folder.devices, config.nodes)


def create_store(
    path: Path, catalogue: Catalogue, events: Events, policy: Policy, seed: int | None, first: int
) -> None:
    """Make the store of one device, whose shopper consents to training, with these events of one device.

    Its key lies beside it, because nobody can unlock a key ring for processes that start by themselves. seed,
    first: as for `DeviceStore.create`.
    """
    store = DeviceStore.create(path, catalogue, policy, key_file=True, seed=seed, first=first)
    store.give_consent(NOTICE)
    items = [str(item) for item in catalogue.table[ITEM]]
    columns = zip(events.items.tolist(), events.times.tolist(), events.weights.tolist(), strict=True)
    store.add_events([(items[item], time, weight) for item, time, weight in columns], policy.most_events)


def device_groups(plan: RunPlan, folder: RunFolder) -> list[tuple[Path, tuple[int, int]]]:
    """Return the folder of each device group, and the devices that it holds, from one place to another.

    A simulation has one folder, whose devices the nodes divide. In a federation each node has its own.
    """
    devices, nodes = plan.dataset.events.num_devices, plan.config.nodes
    if plan.config.engine != "federation":
        return [(folder.devices, (0, devices))]
    layout = Layout(folder.path)
    spans = [(devices * node // nodes, devices * (node + 1) // nodes) for node in range(nodes)]
    return [(layout.device(node), span) for node, span in enumerate(spans)]
