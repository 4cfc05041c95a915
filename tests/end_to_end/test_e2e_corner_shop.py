"""A corner shop's day on live services: alone, on a network that runs already, and with services that are killed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from running_network import PROJECT, command, environment

from network.ledger import Transfer
from network.service import ConfigurationError
from network.store import Store, sqlite_url
from scenarios import report
from scenarios.demo_network import demo
from scenarios.result import WAYS, Result
from scenarios.stage import cast_of
from scenarios.stories.corner_shop import corner_shop
from scenarios.worlds import live_world

pytestmark = pytest.mark.live

TIMEOUTS = demo.Timeouts(issuer=1.5, switch=2.5, acquirer=4.0, advice_retry=0.5, reversal_retry=0.5)
OVERTIME_SECONDS = 30.0
"""How long after closing time a run may go on."""

DEAD_SECONDS = 1.0


def run(folder: Path, *arguments: object) -> tuple[int, str, str, float]:
    """Exit code, output, errors and how long it took."""
    import subprocess

    began = time.monotonic()
    done = subprocess.run(
        command("run", "corner_shop", "--live", "--report", folder, *arguments),
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode(), time.monotonic() - began


def check_result(result: Result) -> None:
    assert result.books.agree, result.books.problems
    assert result.approved > 15
    assert result.attempts == sum(way.attempts for way in result.ways.values())
    assert {way for way, seen in result.ways.items() if seen.approved} == set(WAYS)
    assert result.refused["the phone's keys were wiped"] == 1
    assert result.refused["not attested: outside the merchant's area"] == 1


def test_a_day_on_a_network_of_its_own(tmp_path: Path) -> None:
    code, out, err, seconds = run(tmp_path, "--duration", "50s", "--seed", "3")
    assert code == 0, err
    assert seconds < 50.0 + OVERTIME_SECONDS
    result = report.load(tmp_path / "result.json")
    check_result(result)
    assert result.duration < 60.0 + OVERTIME_SECONDS
    assert "The books agree" in out
    page = (tmp_path / "report.html").read_text("utf-8")
    for name in WAYS.values():
        assert name in out
        assert name.replace("'", "&#39;") in page


def test_two_days_on_a_network_that_runs_already(tmp_path: Path) -> None:
    """The second finds the cards' counters, the electronic cash and the phones' rows as the first has left them."""
    cast = cast_of(corner_shop)
    assert cast.cards is not None
    with live_world.own_network(phones=1, cards=cast.cards, products=cast.products) as processes:
        for day in ("first", "second"):
            folder = tmp_path / day
            code, out, err, seconds = run(folder, "--duration", "25s", "--dir", processes.folder, "--json")
            assert code == 0, err
            assert seconds < 25.0 + OVERTIME_SECONDS
            assert json.loads(out)["scenario"] == "corner_shop"
            result = report.load(folder / "result.json")
            assert result.books.agree, result.books.problems
            assert result.approved > 10


def test_the_books_agree_when_services_are_killed(tmp_path: Path) -> None:
    cast = cast_of(corner_shop)
    assert cast.cards is not None
    with live_world.own_network(phones=1, cards=cast.cards, timeouts=TIMEOUTS, products=cast.products) as processes:
        killed: list[str] = []
        ended = threading.Event()

        def trouble() -> None:
            for victim in ("acquirer", "switch", "issuer") * 2:
                if ended.wait(6.0):
                    return
                processes.kill(victim)
                ended.wait(DEAD_SECONDS)
                processes.start_one(victim)
                processes.wait_until_ready()
                killed.append(victim)

        killer = threading.Thread(target=trouble)
        killer.start()
        try:
            result = live_world.play(
                processes.folder,
                "corner_shop",
                corner_shop,
                seed=2,
                duration=60.0,
                phones=0,
                progress=lambda elapsed, measured: None,
            )
        finally:
            ended.set()
            killer.join()
        assert set(killed) == {"acquirer", "switch", "issuer"}
        assert result.books.agree, result.books.problems
        assert result.approved > 10
        assert result.duration < 60.0 + OVERTIME_SECONDS
        stores = {
            party: Store(sqlite_url(processes.folder / f"{party}.db"), demo.ROWS[party])
            for party in ("issuer", "switch", "acquirer")
        }
        try:
            standing = {party: standing_sales(store) for party, store in stores.items()}
        finally:
            for store in stores.values():
                store.close()
        assert standing["acquirer"] == standing["switch"] == standing["issuer"]
        for party in ("issuer", "switch", "acquirer"):
            assert "Traceback" not in (processes.folder / f"{party}.log").read_text()


def standing_sales(store: Store) -> dict[str, int]:
    """References of the sales that are posted and not reversed, with their amounts."""
    table = store.tables[Transfer]
    with store.read() as connection:
        posted = {row.transfer_id: row.amount for row in connection.execute(sa.select(table)).all()}
    undone = {name.removesuffix("/reversal") for name in posted if name.endswith("/reversal")}
    sales = {name.removesuffix("/sale"): fen for name, fen in posted.items() if name.endswith("/sale")}
    assert undone <= sales.keys()
    return {reference: fen for reference, fen in sales.items() if reference not in undone}


def test_a_network_without_its_cards_is_refused(tmp_path: Path) -> None:
    with live_world.own_network(phones=1, cards=4) as processes, pytest.raises(ConfigurationError, match="cards"):
        live_world.play(
            processes.folder,
            "corner_shop",
            corner_shop,
            seed=1,
            duration=5.0,
            phones=0,
            progress=lambda elapsed, measured: None,
        )
