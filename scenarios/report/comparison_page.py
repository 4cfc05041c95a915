"""The page that shows runs held against one another."""

from __future__ import annotations

from scenarios.report.assets import assets, embedded
from scenarios.report.contrast import Contrast
from scenarios.report.overlays import overlays
from scenarios.report.page import ENVIRONMENT


def render_comparison(contrast: Contrast) -> bytes:
    """The page in UTF-8: one file that loads nothing.

    Raises
    ------
    ReportError
        A run's histograms or timeline are not what they should be.
    """
    charts = overlays(contrast.sides)
    sections: dict[str, list[int]] = {}
    for number, row in enumerate(contrast.rows):
        sections.setdefault(row.section, []).append(number)
    return (
        ENVIRONMENT.get_template("comparison.html.j2")
        .render(
            assets=assets(),
            charts=charts,
            drawings=embedded(charts),
            contrast=contrast,
            sections=sections,
            title=" against ".join([" and ".join(side.name for side in contrast.sides[1:]), contrast.sides[0].name]),
        )
        .encode()
    )
