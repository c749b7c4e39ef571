"""Embed the SVG of a figure in a page, with unique ids and with the colours of the page's style."""

import re

from terrycloth.experiments.frontier.style import SHADES

VARIABLES = {
    "#000000": "ink",
    "#ffffff": "paper",
    "#555555": "grey",
    "#b0b0b0": "faint",
    "#cccccc": "faint",
    "#e4e4e4": "floor",
    "#0072b2": "blue",
    "#d55e00": "orange",
    "#009e73": "green",
    **{shade: f"shade-{step}" for step, shade in enumerate(SHADES)},
}


def inline_svg(text: str, name: str) -> str:
    """Return the <svg> element, labelled by the elements NAME-caption and NAME-text of the page."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = re.sub(colour, f"var(--{variable})", svg, flags=re.IGNORECASE)
    return svg.replace("<svg", f'<svg role="img" aria-labelledby="{name}-caption {name}-text"', 1)
