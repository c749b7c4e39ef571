"""Every figure of a frontier that its results have points enough for."""

from terrycloth.experiments.frontier.bytes_figure import draw_bytes
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.frontier_figure import draw_frontier
from terrycloth.experiments.frontier.leak_figure import draw_leak
from terrycloth.experiments.frontier.points import Federation, families, under
from terrycloth.experiments.frontier.rounds_figure import draw_rounds
from terrycloth.experiments.frontier.sizes_figure import draw_sizes
from terrycloth.experiments.frontier.style import Drawn


def draw_all(of: FrontierFolder, found: list[Federation]) -> list[Drawn]:
    """PNG and SVG of each, at a paper's size. What a leaky protocol gives is in a figure of its own."""
    folder = of.figures
    folder.mkdir(exist_ok=True)
    leaks = [draw_leak(folder, one) for one in found if under("leaky", [one])]
    found = under("clean", found)
    drawn = [draw_frontier(folder, federation) for federation in found]
    for sizes in families(found):
        if len(sizes) > 1:
            drawn.append(draw_sizes(folder, sizes))
        drawn.append(draw_bytes(folder, sizes))
        if (rounds := draw_rounds(folder, of.runs, sizes)) is not None:
            drawn.append(rounds)
    return [*leaks, *drawn]
