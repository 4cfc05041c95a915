"""What a page carries along: style, script, uPlot with its licence, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from markupsafe import Markup

from scenarios.report.chart import Chart

_HERE: Final = resources.files("scenarios.report")


@dataclass(frozen=True)
class Assets:
    """Markup to put into a page as it is, and its content security policy.

    The policy names the scripts by their hashes: markup that got into the page by a hole in its escaping would
    not run. Nothing may be loaded from anywhere.
    """

    style: Markup
    plot: Markup
    script: Markup
    policy: str


@cache
def assets() -> Assets:
    """The files beside this module, read once."""
    licence = _read("vendor/uplot/LICENSE").strip()
    plot = f"\n/*!\nuPlot\n\n{licence}\n*/\n{_read('vendor/uplot/uPlot.iife.min.js')}"
    script = "\n" + _read("charts.js")
    style = f"{_read('vendor/uplot/uPlot.min.css').strip()}\n{_read('page.css')}"
    hashes = " ".join(_hash(text) for text in (plot, script))
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:"
    return Assets(Markup(style), Markup(plot), Markup(script), policy)  # noqa: S704 - files of this package


def embedded(charts: Sequence[Chart]) -> Markup:
    """The charts as JSON that can stand in a script element: no character of it can end the element."""
    text = json.dumps([chart.drawing() for chart in charts], ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _read(name: str) -> str:
    return _HERE.joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
