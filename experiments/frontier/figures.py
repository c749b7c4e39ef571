"""Draw every figure of a frontier for which its results have enough points."""

from terrycloth.experiments.frontier.bytes_figure import bytes_figure
from terrycloth.experiments.frontier.figure import Figure
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.frontier_figure import frontier_figure
from terrycloth.experiments.frontier.leak_figure import leak_figure
from terrycloth.experiments.frontier.points import Federation, families, under
from terrycloth.experiments.frontier.rounds_figure import rounds_figure
from terrycloth.experiments.frontier.sizes_figure import sizes_figures
from terrycloth.experiments.pages.drawing import save_for_paper


def draw_all(frontier: FrontierFolder, federations: list[Federation]) -> list[Figure]:
    """Save all figures as PNG and SVG, in the size for a paper, and return them for the page.

    Results with leaky negative sampling are only in figures of their own.
    """
    folder = frontier.figures
    folder.mkdir(exist_ok=True)
    figures = [leak_figure(one) for one in federations if under("leaky", [one])]
    clean = under("clean", federations)
    figures += [frontier_figure(federation) for federation in clean]
    for sizes in families(clean):
        figures += sizes_figures(sizes) if len(sizes) > 1 else []
        further = (bytes_figure(sizes), rounds_figure(frontier.runs, sizes))
        figures += [one for one in further if one is not None]
    for one in figures:
        save_for_paper(one.panels, one.title, one.note, folder, one.name)
    return figures
