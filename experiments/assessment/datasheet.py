"""The datasheet of a finished run: a model card and the data behind it, in plain words.

Its sections follow Mitchell et al. 2019, "Model cards for model reporting", and Gebru et al. 2021,
"Datasheets for datasets".
"""

from terrycloth.experiments.assessment.finished_run import FinishedRun
from terrycloth.experiments.assessment.run_report import answer, does_it_help, groups_table
from terrycloth.experiments.pages.page import Bullets, Page, Part, Section, Terms

PURPOSE = (
    "The model ranks the items of one catalogue for a shopper, on the shopper's own device, from the "
    "shopper's own purchases. It is for showing a few items that the shopper may want next. It is not for "
    "pricing, for credit or insurance, for inferring who somebody is, or for other catalogues."
)
LIMITS = (
    "Accuracy was measured on past purchases. It says nothing about what shoppers would have bought had they "
    "been shown other items.",
    "Items that nobody bought in the training data are recommended by their attributes alone, or not at all.",
    "The promise is about what the training releases. What a list of recommendations reveals to somebody who "
    "looks at a shopper's screen is outside it, and so are the exact figures on this sheet.",
    "The catalogue counts as public.",
)


def datasheet(run: FinishedRun) -> Page:
    """Return the datasheet of a run as a page."""
    result = run.result
    return Page(
        title=f"Datasheet: {result.model} on {result.data.name}",
        question="What is this model, what is it for, and what is known of it?",
        answer=answer(run),
        sections=[
            Section("What it is for", [PURPOSE]),
            Section("The model", [Terms(about_model(run))]),
            Section("The data", about_data(run)),
            Section("The promise of privacy", [result.promise.sentence()]),
            Section("Accuracy", does_it_help(run)),
            Section(
                "Accuracy by group",
                [groups_table(run.groups) if run.groups else "It was not measured by group."],
            ),
            Section("Audits", ["No audit of this model has been recorded."]),
            Section("Known limits", [Bullets(LIMITS)]),
        ],
        footer=result.data.split_sentence,
    )


def about_model(run: FinishedRun) -> dict[str, str]:
    """Return the facts about the model by name."""
    result, config = run.result, run.trained.config
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.model_dump().items())
    return {
        "kind": result.model if result.model_reason is None else f"{result.model}. {result.model_reason}",
        "trained": f"{config.rounds} rounds of federated learning over {result.data.devices:,} devices"
        f" (engine: {result.engine})",
        "what left a device": f"{result.cost.bytes_up_per_device:,} bytes of model updates, and no purchase",
        "software": versions,
        "made": result.date or "not recorded",
    }


def about_data(run: FinishedRun) -> list[Part]:
    """Return what the data are, what was left out of them, and how identifying they are."""
    data, report = run.result.data, run.dataset.report
    alone = run.identifying.singled_out
    most = max(alone, default=0)
    facts = {
        "source": report.source,
        "size": f"{data.devices:,} shoppers, {data.items:,} items, {data.events:,} training purchases",
        "kept of each purchase": "shopper (as a number), item, time, quantity; order ids tell visits apart",
        "columns never read": ", ".join(report.columns_never_read) or "none",
        "split": data.split_sentence,
    }
    if most:
        facts["identifying"] = (
            f"{100 * alone[most]:.1f} of 100 shoppers are singled out by {most} of their purchases"
        )
    dropped = [f"{rows:,} rows: {reason}" for reason, rows in report.rows_dropped.items()]
    left_out: list[Part] = ["Left out:", Bullets(dropped)] if dropped else []
    return [Terms(facts), *left_out]
