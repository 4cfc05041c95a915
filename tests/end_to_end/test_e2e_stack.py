"""The compose stack on a real Docker engine: it comes up, pays, loses containers, and its money stays right."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from container_stack import JOBS, SERVICES, NoEngine, Stack, compose_tool
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal

from scenarios.demo_network.members import ISSUERS

pytestmark = pytest.mark.live

STOP_SECONDS = 15.0
"""The grace period of compose.yaml: whoever needs longer is killed."""

GIVEN_UP_SECONDS = 8.0
"""Longer than a service waits for a database server that says nothing."""

SETTLED_SECONDS = 5.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, up. In CI there must be an engine; elsewhere its absence skips what needs it."""
    try:
        compose_tool()
    except NoEngine as error:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"{error}: CI must test the stack")
        pytest.skip(str(error))
    running = Stack(tmp_path_factory.mktemp("stack_runs"))
    try:
        running.start()
        yield running
    finally:
        running.end()


def positions(stack: Stack) -> set[int]:
    """What the money comes to at each party, fen: one amount when they agree."""
    books = stack.books()
    first, second = ISSUERS
    owed = {
        first.member_id: books["issuer-a"].get("settlement:network", 0),
        second.member_id: books["issuer-b"].get("settlement:network", 0),
    }
    for member_id, fen in owed.items():
        assert books["switch"].get(f"member:{member_id}", 0) == -fen, "an issuer and the switch disagree"
    acquirer = books["acquirer"]
    return {
        sum(owed.values()),
        sum(fen for name, fen in books["switch"].items() if fen > 0),
        -acquirer.get("receivable:network", 0),
        sum(fen for name, fen in acquirer.items() if name.startswith("merchant:")),
    }


def agree(stack: Stack) -> bool:
    """Whether all books come to say the same soon: reversals cross the network on their own."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            if len(positions(stack)) == 1:
                return True
        except AssertionError:
            pass
        time.sleep(0.3)
    return len(positions(stack)) == 1


def report_of(stack: Stack, name: str) -> dict[str, object]:
    """The result that a run has left on the host."""
    folder = stack.runs / name
    assert (folder / "report.html").stat().st_uid == stack.runs.stat().st_uid, (
        "the report belongs to whose folder it is"
    )
    content: dict[str, object] = json.loads((folder / "result.json").read_text())
    return content


def test_containers_may_do_what_they_must_and_no_more(stack: Stack) -> None:
    tokens = {stack.description["operator_token"]}
    for service in SERVICES:
        found = stack.inspect(service)
        host, config = found["HostConfig"], found["Config"]
        assert config["User"] == "10001:10001"
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
        assert not host["CapAdd"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        # its own folder, read-only, and nobody else's
        mounts = [(one["Name"], one["Destination"], one["RW"]) for one in found["Mounts"]]
        assert mounts == [(f"{stack.project}_{service}", "/etc/fourparty", False)]
        assert all(one["HostIp"] == "127.0.0.1" for ports in host["PortBindings"].values() for one in ports)
        status = stack.docker("exec", found["Id"], "sh", "-c", "cat /proc/self/status; touch /written 2>&1 || true")
        assert "CapBnd:\t0000000000000000" in status
        assert "Read-only file system" in status
        tokens.add(stack.docker("exec", found["Id"], "cat", "/etc/fourparty/database.password"))
        tokens.add(stack.docker("exec", found["Id"], "sed", "-n", "2p", "/etc/fourparty/tls.key"))
    assert len(tokens) == 11
    for service in (*SERVICES, *JOBS, "postgres"):
        told = json.dumps(stack.inspect(service)) + stack.told(service)
        assert not [token for token in tokens if token in told], f"{service} shows a secret"
    for job in JOBS:
        assert stack.inspect(job)["State"]["ExitCode"] == 0


def test_an_outside_terminal_pays_from_the_host_with_a_card_of_each_issuer(stack: Stack) -> None:
    entry = next(one for one in stack.description["terminals"] if one["free"])
    link = f"127.0.0.1:{stack.ports}00"
    terminal = OutsideTerminal(link, entry["terminal_id"], entry["merchant_id"], entry["tmk"])
    terminal.tls = stack.trust
    try:
        assert terminal.sign_on().code == "00"
        for card in stack.description["cards"][:2]:
            assert terminal.pay(OutsideCard.published(card), 1234)[1].code == "00"
    finally:
        terminal.close()
    assert {card["issuer"] for card in stack.description["cards"][:2]} == {"issuer", "issuer_b"}
    assert positions(stack) == {2468}


def test_without_tls_nobody_is_heard_and_without_a_members_certificate_no_member(stack: Stack) -> None:
    plain = replace(stack.api("acquirer"), base=f"http://127.0.0.1:{stack.ports}12")
    with pytest.raises(OSError, match=r"reset|closed|disconnected|peer"):
        plain.request("/health")
    assert stack.trust is not None
    with (
        socket.create_connection(("127.0.0.1", int(f"{stack.ports}01")), timeout=10) as line,
        stack.trust.wrap_socket(line, server_hostname="localhost") as secured,
    ):
        try:
            heard = secured.recv(1)  # with TLS 1.3 the server's refusal comes after the handshake
        except (ssl.SSLError, ConnectionError):
            heard = b""
        assert heard == b"", "the switch ends a link without a member's certificate"


def test_a_scenario_runs_inside_and_leaves_its_report_on_the_host(stack: Stack) -> None:
    done = stack.scenarios("run", "street_market", "--live", "--duration", "5s", "--phones", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    result = report_of(stack, "street_market-live")
    assert {"issuer", "issuer_b", "switch", "acquirer"} <= set(result["parties"])  # type: ignore[call-overload]
    assert "runs/street_market-live/report.html" in done.stdout + done.stderr
    assert agree(stack)


def test_a_command_that_checks_the_whole_stack_makes_nothing_anew(stack: Stack) -> None:
    before = {service: stack.container(service) for service in (*SERVICES, *JOBS, "postgres")}
    started = {service: stack.inspect(service)["State"]["StartedAt"] for service in (*SERVICES, "postgres")}
    done = stack.compose("run", "--rm", "-T", "scenarios", "pay", "--amount", "12.50", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {service: stack.container(service) for service in before} == before
    assert {service: stack.inspect(service)["State"]["StartedAt"] for service in started} == started
    assert agree(stack)


def test_load_is_made_inside_and_judged(stack: Stack) -> None:
    arguments = ("--rate", "15", "--for", "4s", "--warm-up", "1s", "--terminals", "20")
    done = stack.scenarios("load", "steady", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report_of(stack, "steady-live")
    assert agree(stack)


def crash(stack: Stack, service: str) -> None:
    """The process dies; the engine starts it again by itself."""
    container = stack.container(service)
    before = stack.inspect(service)["RestartCount"]
    # the first process is a minimal init, which dies as its child does
    stack.docker("exec", container, "python", "-c", CRASH)
    deadline = time.monotonic() + 30
    while stack.inspect(service)["RestartCount"] == before:
        assert time.monotonic() < deadline, f"{service} was not started again"
        time.sleep(0.1)


CRASH = """
import os, pathlib, signal
parent = {int(one.name): one.joinpath("stat").read_text().rpartition(")")[2].split()[1]
          for one in pathlib.Path("/proc").iterdir() if one.name.isdigit()}
[child] = [pid for pid, above in parent.items() if above == "1" and pid != os.getpid()]
os.kill(child, signal.SIGKILL)
"""


def kill(stack: Stack, service: str) -> None:
    """``docker kill`` counts as wanted: somebody starts it again."""
    container = stack.container(service)
    stack.docker("kill", container)
    time.sleep(1.0)
    stack.docker("start", container)


def lose_database(stack: Stack, service: str) -> None:
    """As `kill`. Who waits for the server's answer gives it up after seconds, ends, and is started again."""
    kill(stack, service)
    time.sleep(GIVEN_UP_SECONDS)


def settled(stack: Stack, service: str) -> bool:
    """Whether it has been serving for a while, and is not about to notice that its database was away."""
    started = datetime.fromisoformat(stack.inspect(service)["State"]["StartedAt"][:19] + "+00:00")
    return datetime.now(UTC) - started > timedelta(seconds=SETTLED_SECONDS) and stack.is_ready(service)


def stop(stack: Stack, service: str) -> None:
    """SIGTERM: it answers what it has and ends well within its time."""
    deadline = time.monotonic() + 60
    while not settled(stack, service):
        assert time.monotonic() < deadline, f"{service} has not settled"
        time.sleep(0.2)
    container = stack.container(service)
    began = time.monotonic()
    stack.docker("stop", "--time", f"{STOP_SECONDS:.0f}", container)
    assert time.monotonic() - began < STOP_SECONDS
    assert stack.inspect(service)["State"]["ExitCode"] == 0
    stack.docker("start", container)


def test_every_container_is_lost_in_turn_and_the_money_stays_right(stack: Stack) -> None:
    market = stack.begin("run", "street_market", "--live", "--duration", "70s", "--phones", "16")
    try:
        time.sleep(6.0)
        for lose, service in (
            (crash, "issuer-a"),
            (kill, "issuer-b"),
            (crash, "switch"),
            (kill, "acquirer"),
            (crash, "device"),
            (lose_database, "postgres"),
            (stop, "switch"),
        ):
            lose(stack, service)
            stack.wait_until_ready()
        over = market.poll() is not None
        said, _ = market.communicate(timeout=150)
        assert not over, f"the market was over before the last container was lost: {said}"
    except BaseException:
        market.kill()
        market.communicate()
        raise
    assert market.returncode == 0, said
    result = report_of(stack, "street_market-live")
    assert result["approved"] > 50  # type: ignore[operator]
    assert agree(stack), stack.books()


def test_up_again_keeps_the_network(stack: Stack) -> None:
    before = positions(stack)
    stack.docker("rm", "--force", stack.container("issuer-b"))
    done = stack.compose("up", "-d")
    assert done.returncode == 0, done.stdout + done.stderr
    stack.wait_until_ready()
    assert json.loads(stack.seen_by("seed", "/stack/demo/network.json")) == stack.description
    assert positions(stack) == before


def test_all_of_it_ends_on_sigterm(stack: Stack) -> None:
    done = stack.compose("stop")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = {service: stack.inspect(service)["State"]["ExitCode"] for service in (*SERVICES, "postgres")}
    assert ended == dict.fromkeys(ended, 0)
    for service in SERVICES:
        assert '"event": "stopping"' in stack.told(service)
