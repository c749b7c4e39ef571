"""Print an assessment: the answer, and the figures that it rests on."""

from pathlib import Path

from rich.table import Table

from terrycloth.experiments.assessment.assess import TIMES_AS_MANY, Assessment
from terrycloth.experiments.assessment.made_up import SHOWN
from terrycloth.experiments.assessment.parts import FOR_THE_BRAND, PROMISED, interval
from terrycloth.experiments.assessment.verdict import difference
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.reports.reasons import because
from terrycloth.experiments.reports.recommendation import history as history_of
from terrycloth.experiments.reports.recommendation import history_lines, recommended
from terrycloth.models.privacy.promise import rounded_up

REAL_SHOPPERS = 3


def print_assessment(found: Assessment, page: Path) -> None:
    """Print the answer, two tables, and the address of the page."""
    console = make_console()
    console.print(help_table(found))
    console.print(cost_table(found))
    console.print(found.later.split.rule.sentence)
    console.print(f"{PROMISED} {found.promise.sentence()}")
    console.print(FOR_THE_BRAND)
    console.print(found.verdict.sentence, style="bold")
    console.print(page.resolve().as_uri())


def print_real_shoppers(found: Assessment) -> None:
    """Print what some real shoppers bought last, and what they would be shown and why; nothing is written."""
    console = make_console()
    console.print("These are real shoppers of this shop. What follows is personal data.")
    history = found.later.split.test.history
    for device in found.later.split.test.tested(REAL_SHOPPERS):
        own = history.span(device, device + 1)
        for line in history_lines(history_of(found.trained, own)):
            console.print(line)
        table = Table("is shown", "because")
        for each in recommended(found.trained, own, SHOWN):
            table.add_row(each.title, because(each.reasons, each.score))
        console.print(table)


def help_table(found: Assessment) -> Table:
    """Return how many of 100 shoppers each recommender helps."""
    label, unprotected = found.unprotected
    table = Table(
        "recommender",
        "of 100 shoppers find something",
        "private minus this",
        title=f"{found.later.tested:,} shoppers, ten recommendations each",
    )
    table.add_row(
        f"private, ε = {found.choice.asked.epsilon:g}", f"{found.private.per_100:.1f}", "", style="bold"
    )
    others = {each.label: each.later for each in found.alternatives if each.label != label}
    for name, measured in {**others, f"without privacy: {label}": unprotected}.items():
        table.add_row(name, f"{measured.per_100:.1f}", interval(difference(found.private, measured)))
    return table


def cost_table(found: Assessment) -> Table:
    """Return accuracy by ε and number of shoppers, and what an attacker can do."""
    shoppers = found.later.dataset.events.num_devices
    sizes = [f"{times * shoppers:,} shoppers" for times in TIMES_AS_MANY]
    table = Table(
        "ε",
        "an attacker can tell\nthat they are in the data, at most",
        *sizes,
        title=f"of 100 shoppers, with {found.choice.asked.trust} trust",
        caption="Figures for more shoppers are estimates: the present ones, with the smaller share of noise.",
    )
    for epsilon, measured in sorted(found.at_sizes.items()):
        figures = [f"{measured[times].per_100:.1f}" for times in TIMES_AS_MANY]
        table.add_row(f"{epsilon:g}", f"{rounded_up(100 * found.caught[epsilon])}%", *figures)
    return table
