"""Draw every figure of a frontier for which its results have enough points."""

from terrycloth.experiments.frontier.bytes_figure import draw_bytes
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.frontier_figure import draw_frontier
from terrycloth.experiments.frontier.leak_figure import draw_leak
from terrycloth.experiments.frontier.points import Federation, families, under
from terrycloth.experiments.frontier.rounds_figure import draw_rounds
from terrycloth.experiments.frontier.sizes_figure import draw_sizes
from terrycloth.experiments.frontier.style import Drawn


def draw_all(frontier: FrontierFolder, federations: list[Federation]) -> list[Drawn]:
    """Draw all figures as PNG and SVG, in the size for a paper.

    Results with leaky negative sampling are only in figures of their own.
    """
    folder = frontier.figures
    folder.mkdir(exist_ok=True)
    leaks = [draw_leak(folder, one) for one in federations if under("leaky", [one])]
    clean = under("clean", federations)
    drawn = [draw_frontier(folder, federation) for federation in clean]
    for sizes in families(clean):
        if len(sizes) > 1:
            drawn.append(draw_sizes(folder, sizes))
        drawn.append(draw_bytes(folder, sizes))
        if (rounds := draw_rounds(folder, frontier.runs, sizes)) is not None:
            drawn.append(rounds)
    return [*leaks, *drawn]
