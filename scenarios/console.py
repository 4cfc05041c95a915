"""What a run and a payment look like on a terminal; nothing here is needed to compute them.

Colour and movement follow the console: rich leaves colour out where ``NO_COLOR`` is set or the output is no
terminal. Text that came over the wire is shown with its control characters spelt out, so that a message cannot
drive the reader's terminal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from network.iso8583.codes import RESPONSE_CODES
from network.party import Json
from scenarios.report.quantities import latency, rate, share, span, yuan
from scenarios.report.sections import checks
from scenarios.report.verdict import Book, compare, in_order, title_of, verdict
from scenarios.result import Load, Result, WayFigures

LINE_EVERY: Final = 5.0
"""Seconds between the plain lines of a run whose output is no terminal."""
REDRAW_EVERY: Final = 0.2
"""Seconds between two drawings of the live line."""
_HOP_KEYS: Final = ("time", "hop", "mti", "length", "description")


def show(result: Result, console: Console) -> None:
    """Print a result: the verdict, the figures, declines, latencies and the books."""
    judged = verdict(result)
    mark, style = ("OK", "bold green") if judged.good else ("FAILED", "bold red")
    declined, refused = sum(result.declined.values()), sum(result.refused.values())
    about = f"{result.scenario}, {result.runtime}, seed {result.seed}, {span(result.duration)}"
    parts: list[RenderableType] = [
        safe_text(f"{result.title} ({about})", console, "bold"),
        safe_text(f"{mark}: {judged.headline}. {judged.detail}", console, style),
        *(safe_text(f"  - {problem}", console, "red") for problem in _problems(result)),
        safe_text("", console),
        *([_thresholds(result, console)] if result.thresholds else []),
        _figures(
            console,
            ("attempts", f"{result.attempts:,}", "", ""),
            ("approved", f"{result.approved:,}", share(result.approved, result.attempts), ""),
            ("declined", f"{declined:,}", share(declined, result.attempts), ""),
            ("unanswered", f"{result.unanswered:,}", share(result.unanswered, result.attempts), "red"),
            ("refused by the phone", f"{refused:,}", share(refused, result.attempts), "red"),
            ("reversals", f"{result.reversals:,}", "", ""),
            ("throughput", rate(result.throughput), "payments/s", ""),
            ("approved amount", yuan(result.amount), "yuan", ""),
            *(_load_figures(result, result.load) if result.load else ()),
        ),
    ]
    if result.declined:
        rows = [
            (code, RESPONSE_CODES.get(code, "not a known code"), count) for code, count in _commonest(result.declined)
        ]
        parts.append(
            aligned(console, ["code", "declined because", ">payments"], [(a, b, f"{n:,}") for a, b, n in rows])
        )
    if result.refused:
        parts.append(
            aligned(console, ["refused because", ">payments"], [(a, f"{n:,}") for a, n in _commonest(result.refused)])
        )
    ways = result.by_way()
    if ways:
        parts.append(_ways(ways, console))
    parts.append(_latencies(result, console))
    books = compare(result.books)
    if books:
        parts.append(_books(books, console))
    print_parts(parts, console)


def message_trace(hops: Sequence[Mapping[str, Json]], console: Console | None = None) -> None:
    """Print the messages of a payment in the order given.

    Parameters
    ----------
    hops
        Each with ``time`` (seconds on any clock, or a date and time in ISO 8601; shown as milliseconds since the
        first hop), ``hop`` (such as ``phone -> acquirer``), ``mti``, ``length`` (bytes on the wire) and
        ``description`` (lines of text, which the caller has masked).
    console
        Standard output unless given.

    Raises
    ------
    ValueError
        A hop lacks one of these or its time is no time; the message names the hop by its place, from 1.
    """
    console = console or Console()
    first: float | None = None
    lines: list[RenderableType] = []
    for number, hop in enumerate(hops, 1):
        for key in _HOP_KEYS:
            if key not in hop:
                raise ValueError(f"hop {number} of the trace has no {key!r}")
        moment = _seconds(hop["time"])
        if moment is None:
            raise ValueError(f"the time of hop {number} of the trace is neither a number of seconds nor ISO 8601")
        first = moment if first is None else first
        mti = str(hop["mti"])
        # The third digit of an MTI is its function; the odd ones are answers (ISO 8583, message function).
        answer = mti[2:3] in ("1", "3", "5", "7", "9")
        lines.append(
            Text.assemble(
                safe_text(f"{(moment - first) * 1000:+10.1f} ms  ", console, "dim"),
                safe_text(str(hop["hop"]), console, "bold"),
                safe_text(f"  {mti}", console, "bold green" if answer else "bold cyan"),
                safe_text(f"  {hop['length']} bytes", console, "dim"),
            )
        )
        for line in str(hop["description"]).splitlines():
            if console.is_terminal:
                lines.append(Padding(safe_text(line, console), (0, 0, 0, 4), expand=False))
            else:
                lines.append(safe_text(f"    {line}" if line else "", console))
    print_parts(lines, console)


class Progress:
    """How a run is getting on: a live line on a terminal, elsewhere one plain line every five seconds.

    It writes to standard error unless told otherwise, so that data on standard output stays clean, and starts no
    thread: it draws in `update`, which returns at once between two drawings and may be called at any rate.

    Parameters
    ----------
    title : str
        What is running.
    console : Console, optional
        Where to draw.
    clock : callable
        Seconds of real time; only differences are used.

    Examples
    --------
    ::

        with Progress("street_market") as progress:
            progress.update(12.0, 60.0, 240, 225, 12, 0, 14_200)
    """

    def __init__(self, title: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._live: Live | None = None
        self._drawn_at = 0.0
        self._latest: tuple[float, float, str] | None = None
        self._stale = False

    def __enter__(self) -> Progress:
        self._drawn_at = self._clock()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            # rich would send standard output through this console, to standard error.
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=True
            )
            self._live.start()
            self._drawn_at -= REDRAW_EVERY
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._stale:
            self._draw()

    def update(
        self,
        elapsed: float,
        duration: float,
        attempts: int,
        approved: int,
        declined: int,
        unanswered: int,
        p99_us: int,
    ) -> None:
        """Say where the run stands; times in seconds of the run, the latency in microseconds."""
        per_second = f", {rate(attempts / elapsed)}/s" if elapsed > 0 else ""
        text = (
            f"{attempts:,} attempts{per_second}, {approved:,} approved, {declined:,} declined, "
            f"{unanswered:,} unanswered, p99 {latency(p99_us) if attempts else '-'}"
        )
        self.tell(elapsed, duration, text)

    def tell(self, elapsed: float, duration: float, text: str) -> None:
        """Say where the run stands, in other words; times in seconds of the run."""
        now = self._clock()
        due = self._drawn_at + (REDRAW_EVERY if self._live is not None else LINE_EVERY)
        self._latest = (elapsed, duration, text)
        self._stale = True
        if now >= due:
            self._drawn_at = now
            self._draw()

    def _draw(self) -> None:
        if self._latest is None:
            return
        elapsed, duration, text = self._latest
        self._stale = False
        if self._live is None:
            line = f"{self._title}: {span(elapsed)} of {span(duration)}: {text}"
            self._console.print(safe_text(line, self._console), soft_wrap=True)
            return
        row = Table.grid(padding=(0, 1))
        row.add_row(
            safe_text(self._title, self._console, "bold"),
            ProgressBar(total=max(duration, 1e-9), completed=min(elapsed, duration), width=24),
            safe_text(f"{span(elapsed)} of {span(duration)}", self._console),
        )
        self._live.update(Group(row, safe_text(text, self._console)), refresh=True)


def _problems(result: Result) -> list[str]:
    """Why the run is not valid, and what the books do not agree on."""
    return [
        *(f"invalid: {problem}" for problem in (result.load.problems if result.load else [])),
        *result.books.problems,
    ]


def _thresholds(result: Result, console: Console) -> Table:
    table = aligned(console, ["threshold", ">limit", ">measured", ""], [])
    for check in checks(result):
        cells = (check.text, check.limit, check.actual, "met" if check.met else "missed")
        table.add_row(*safe_texts(console, *cells), style="green" if check.met else "bold red")
    return table


def _load_figures(result: Result, load: Load) -> list[tuple[str, str, str, str]]:
    sent = share(load.sent, load.due)
    return [
        ("load", load.shape, f"{load.mode} loop, {load.terminals:,} terminals", ""),
        *([("due", f"{load.due:,}", f"{sent} sent", "")] if load.due else []),
        ("timeouts", f"{result.timeouts:,}", share(result.timeouts, result.attempts), "red"),
        ("stand-in", f"{result.stand_in:,}", share(result.stand_in, result.attempts), ""),
    ]


def _latencies(result: Result, console: Console) -> Table:
    rows = [(title_of(party), result.parties[party]) for party in in_order(set(result.parties))]
    if result.load:
        rows += [("generator lag", result.load.lag), ("service time", result.load.service)]
    return aligned(
        console,
        ["latency", ">count", ">p50", ">p95", ">p99", ">max"],
        [
            (name, f"{seen.count:,}", *(latency(value) if seen.count else "-" for value in values))
            for name, seen in [*rows, ("end to end", result.end_to_end)]
            for values in [(seen.p50, seen.p95, seen.p99, seen.max)]
        ],
    )


def _ways(ways: Sequence[tuple[str, WayFigures]], console: Console) -> Table:
    return aligned(
        console,
        ["paid by", ">attempts", ">approved", ">offline", ">p50", ">p99"],
        [
            (
                name,
                *(f"{number:,}" for number in (seen.attempts, seen.approved, seen.offline)),
                *(latency(value) if seen.latency.count else "-" for value in (seen.latency.p50, seen.latency.p99)),
            )
            for name, seen in ways
        ],
    )


def _books(books: Sequence[Book], console: Console) -> Table:
    table = aligned(console, ["book", "position", ">yuan", ">difference", ""], [])
    for book in books:
        lines = [(entry.label, yuan(entry.amount), entry.difference) for entry in book.entries]
        if book.imbalance or (book.imbalance is not None and not lines):
            lines.append(("debits less credits", yuan(book.imbalance), book.imbalance))
        for index, (label, amount, difference) in enumerate(lines or [("-", "-", 0)]):
            table.add_row(
                *safe_texts(console, title_of(book.party) if index == 0 else "", label, amount),
                safe_text(yuan(difference) if difference else "", console),
                safe_text("differs" if difference else "agrees", console, "bold" if difference else "green"),
                style="red" if difference else "",
            )
    return table


def _figures(console: Console, *rows: tuple[str, str, str, str]) -> Padding:
    """Name, figure, note, and the style of a figure that is not zero."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, figure, note, style in rows:
        table.add_row(*safe_texts(console, name, figure, note), style=style if figure != "0" else "")
    return Padding(table, (0, 0, 0, 1), expand=False)


def aligned(console: Console, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table; a heading that begins with ``>`` is that of figures, set to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=True)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*safe_texts(console, *row))
    return table


def _seconds(moment: Json) -> float | None:
    if isinstance(moment, str):
        try:
            read = datetime.fromisoformat(moment)
        except ValueError:
            return None
        # Only differences are shown: without a zone, any will do that has no summer time.
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not math.isfinite(moment):
        return None
    return moment


def print_parts(parts: Sequence[RenderableType], console: Console) -> None:
    """Print one below the other; what reads a pipe gets each text on one line, however long."""
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)


def _commonest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def safe_texts(console: Console, *values: str) -> list[Text]:
    """Each value as `safe_text`."""
    return [safe_text(value, console) for value in values]


def safe_text(value: str, console: Console, style: str = "") -> Text:
    """Text that no character of which is markup, a terminal's command, or beyond the output's encoding."""
    safe = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in value)
    try:
        safe.encode(console.encoding)
    except UnicodeEncodeError:
        safe = safe.replace("µ", "u").encode(console.encoding, "backslashreplace").decode(console.encoding)
    return Text(safe, style)
