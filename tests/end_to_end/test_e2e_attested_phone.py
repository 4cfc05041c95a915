"""The attested phone of ``fourparty tap``: on-boarded once, attested for each payment, killed, re-bound."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from breakable_line import breakable_line
from held_card import card_in_field, wait_until
from running_network import command, environment

from merchant_device.sdk import Phone, PhoneError, Receipt
from scenarios import books
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import NetworkError, Processes, RunningNetwork, free_base_port
from scenarios.phones.attested_phone import Identity, attested_phone, onboard, read_identity
from scenarios.phones.trusted_side import TrustedSide, made_configuration, made_phone
from scenarios.phones.wallet import read_wallet

pytestmark = pytest.mark.live

TIMEOUTS = demo.Timeouts(issuer=1.5, switch=2.5, acquirer=4.0, advice_retry=0.5, reversal_retry=0.5)
CONFIGURATION = made_configuration().model_copy(update={"acquirer_timeout": 20.0, "reversal_retry": 0.5})
DEBIT, ECASH = 0, 2
"""Places in the wallet."""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("attested")
    embedded.prepare(folder, free_base_port(), timeouts=TIMEOUTS, cards=2, free_terminals=2, products=("ecash",))
    running = Processes(folder, ("issuer", "switch", "acquirer"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def network(processes: Processes) -> RunningNetwork:
    return RunningNetwork(processes.folder)


def fourparty(network: RunningNetwork, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, "--dir", network.folder, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tap(network: RunningNetwork, place: int, amount: str, *more: object) -> tuple[dict[str, Any], str]:
    """The receipt of ``fourparty tap``, and what it said to people."""
    with card_in_field(network.folder, place) as reader:
        done = fourparty(network, "tap", "--reader", reader, "--amount", amount, "--json", *more)
    assert done.stdout, done.stderr
    receipt: dict[str, Any] = json.loads(done.stdout)["receipt"]
    assert done.returncode == (0 if receipt["outcome"] == "approved" else 1)
    return receipt, done.stderr


def shown(network: RunningNetwork) -> dict[str, Any]:
    """What ``fourparty device`` says."""
    done = fourparty(network, "device", "--json")
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def attestations(network: RunningNetwork) -> list[tuple[str, bool]]:
    """Purposes and verdicts, the first one first."""
    identity = identity_of(network)
    rows = network.get("acquirer", f"/devices/{identity.device}/attestations", limit=500)
    return [(row["purpose"], row["accepted"]) for row in reversed(rows)]


def identity_of(network: RunningNetwork) -> Identity:
    identity = read_identity(network.folder / "phone")
    assert identity is not None
    return identity


def at_acquirer(network: RunningNetwork) -> dict[str, Any]:
    (device,) = network.get("acquirer", "/devices")
    assert device["device_id"] == identity_of(network).device
    return dict(device)


def agree(network: RunningNetwork, before: dict[str, books.PartyBooks], amount: int) -> None:
    """The three books come to say that so much was paid since `before`, and nothing else."""
    wait_until(lambda: set(books.compare(network.books(), before).positions.values()) == {amount})
    assert books.compare(network.books(), before).agree


def wait_for(phone: Phone, status: str) -> None:
    wait_until(lambda: any(state.link and state.status == status for state in phone.status()))


def pay(side: TrustedSide, amount: int) -> Receipt:
    with Phone.start(side.channel, side.terminal_id) as phone:
        wait_until(lambda: any(state.link for state in phone.status()))
        return phone.collect(amount)


def bind_again(network: RunningNetwork, side: TrustedSide) -> None:
    assert onboard(network, side, identity_of(network), lambda _: None, terminal=side.terminal_id) == side.terminal_id


# the commands, in the order in which a merchant gives them


def test_there_is_no_phone_before_the_first_tap(network: RunningNetwork) -> None:
    done = fourparty(network, "device")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has no phone yet: fourparty tap makes it" in done.stderr


def test_the_first_tap_on_boards_and_no_other_does(network: RunningNetwork) -> None:
    before = network.books()
    receipt, said = tap(network, ECASH, "8.88")
    assert receipt["outcome"] == "approved"
    assert receipt["offline"], "the CA's key was downloaded, so that the card could approve by itself"
    (application,) = network.get("acquirer", "/applications")
    assert application["status"] == "approved"
    assert said.count("operator") == 1
    assert application["application_id"] in said
    assert at_acquirer(network)["status"] == "active"
    assert attestations(network) == [("bind", True), ("transaction", True)]
    terminal = receipt["terminal"]
    assert terminal not in {one["terminal_id"] for one in network.description["terminals"]}, "a terminal of its own"
    # the sale was uploaded before the phone went off
    agree(network, before, 888)

    receipt, said = tap(network, ECASH, "1.11")
    assert (receipt["outcome"], receipt["offline"], receipt["terminal"]) == ("approved", True, terminal)
    assert "operator" not in said
    assert len(network.get("acquirer", "/applications")) == len(network.get("acquirer", "/devices")) == 1
    assert attestations(network) == [("bind", True), ("transaction", True), ("transaction", True)]
    agree(network, before, 999)
    state = shown(network)
    assert (state["terminal"], state["phone"], state["secure element"]) == (terminal, "signed_on", "bound")
    assert (state["pending uploads"], state["pending reversals"]) == (0, 0)
    assert len(network.get("acquirer", "/offline-sales")) == 2


def test_what_is_above_the_limit_goes_online_with_an_attestation_for_the_pin(network: RunningNetwork) -> None:
    before, done = network.books(), len(attestations(network))
    pin = read_wallet(network.folder / "wallet.json")[DEBIT].pin
    receipt, _ = tap(network, DEBIT, "1200", "--pin", pin)
    assert (receipt["outcome"], receipt["cvm"], receipt["offline"]) == ("approved", "online_pin", False)
    assert attestations(network)[done:] == [("transaction", True), ("pin", True)]
    agree(network, before, 120_000)


def test_its_files_are_their_owners_alone(network: RunningNetwork) -> None:
    folder = network.folder / "phone"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("phone.json", "device.key", "screen.token", "tee.toml"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    said = (folder / "tee.log").read_text()
    wallet = read_wallet(network.folder / "wallet.json")
    for secret in (identity_of(network).token, wallet[DEBIT].pan, wallet[ECASH].pan, wallet[DEBIT].pin):
        assert secret not in said


def test_a_conventional_terminal_takes_it_where_it_is_named(network: RunningNetwork) -> None:
    before, done = network.books(), len(attestations(network))
    terminal = next(one["terminal_id"] for one in network.description["terminals"] if one["free"])
    receipt, _ = tap(network, DEBIT, "2.50", "--terminal", terminal)
    assert (receipt["outcome"], receipt["terminal"]) == ("approved", terminal)
    assert len(attestations(network)) == done
    agree(network, before, 250)
    refused = fourparty(network, "tap", "--reader", "remote:127.0.0.1:1", "--amount", "1", "--terminal", "99999999")
    assert refused.returncode == 2
    assert "--terminal: 99999999 is not one of the free terminals" in refused.stderr


def test_a_kill_between_two_taps(network: RunningNetwork) -> None:
    before = network.books()
    terminal = at_acquirer(network)["terminal_id"]
    device = identity_of(network).device
    network.post("acquirer", f"/devices/{device}/kill", {"reason": "stolen"})
    receipt, said = tap(network, ECASH, "1.00")
    assert (receipt["outcome"], receipt["reason"], receipt["rrn"]) == ("refused", "killed: stolen", None)
    assert "fourparty device --rebind" in said
    assert at_acquirer(network)["status"] == "killed"
    assert shown(network)["phone"] == "wiped"
    with attested_phone(network, None) as side:
        refused = pay(side, 100)
    assert (refused.outcome, refused.reason) == ("refused", "the phone's keys were wiped")

    done = fourparty(network, "device", "--rebind", "--json")
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert (state["terminal"], state["phone"], state["acquirer"]) == (terminal, "signed_on", "active")
    receipt, _ = tap(network, ECASH, "1.00")
    assert (receipt["outcome"], receipt["offline"], receipt["terminal"]) == ("approved", True, terminal)
    agree(network, before, 100)
    again = fourparty(network, "device", "--rebind")
    assert again.returncode == 1
    assert "is bound to a terminal" in again.stderr
    assert "Traceback" not in again.stderr


def test_one_process_at_a_time(network: RunningNetwork) -> None:
    with attested_phone(network, None):
        done = fourparty(network, "tap", "--reader", "remote:127.0.0.1:1", "--amount", "1")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith("is on already")


# what happens while it works


def test_a_kill_with_a_payment_on_a_dead_line(network: RunningNetwork) -> None:
    """The acquirer has approved, the answer is lost, the phone dies: the acquirer takes the payment back itself."""
    before, device = network.books(), identity_of(network).device
    receipts: list[Receipt] = []
    with (
        breakable_line(network.description["acquirer"]["terminal_link"]) as line,
        card_in_field(network.folder, DEBIT) as reader,
    ):
        network.description["acquirer"]["terminal_link"] = line.address
        with (
            attested_phone(network, reader, configuration=CONFIGURATION) as side,
            Phone.start(side.channel, side.terminal_id) as phone,
        ):
            wait_for(phone, "signed_on")
            line.break_after_next()
            payment = threading.Thread(target=lambda: receipts.append(phone.collect(4_321)))
            payment.start()
            assert line.let_through.wait(10)
            agree(network, before, 4_321)
            network.post("acquirer", f"/devices/{device}/kill", {"reason": "stolen"})
            payment.join(10)
            (receipt,) = receipts
            assert (receipt.outcome, receipt.reason) == ("unknown", "killed: stolen")
            agree(network, before, 0)
            wait_until(lambda: at_acquirer(network)["status"] == "killed")
            assert phone.history(1)[0].status == "reversing", "nobody could tell the phone"

            # bound anew, it finds that the payment is taken back, and takes the next one
            line.mend()
            network.post("acquirer", f"/devices/{device}/reactivate", {})
            bind_again(network, side)
            wait_until(lambda: phone.history(1)[0].status == "reversed")
            receipt = phone.collect(100)
            assert receipt.is_approved, receipt
    agree(network, before, 100)


def test_a_kill_after_the_process_has_died_with_a_payment_out(network: RunningNetwork) -> None:
    """The next process takes back what the one before has left, and is then told to wipe its keys."""
    before, device = network.books(), identity_of(network).device
    errors: list[str] = []

    def collect(phone: Phone) -> None:
        try:
            phone.collect(2_222)
        except PhoneError as error:
            errors.append(error.code)

    with (
        breakable_line(network.description["acquirer"]["terminal_link"]) as line,
        card_in_field(network.folder, DEBIT) as reader,
    ):
        direct = network.description["acquirer"]["terminal_link"]
        network.description["acquirer"]["terminal_link"] = line.address
        with (
            attested_phone(network, reader, configuration=CONFIGURATION) as side,
            Phone.start(side.channel, side.terminal_id) as phone,
        ):
            wait_for(phone, "signed_on")
            line.break_after_next()
            payment = threading.Thread(target=collect, args=(phone,))
            payment.start()
            assert line.let_through.wait(10)
            side.process.kill()
            payment.join(10)
        assert errors == ["connection_lost"]
        assert shown(network)["pending reversals"] == 1
        agree(network, before, 2_222)
        network.post("acquirer", f"/devices/{device}/kill", {"reason": "carried off"})
        # not heard yet: the money is mended first, whatever is thought of the phone
        network.description["acquirer"]["terminal_link"] = direct
        with (
            attested_phone(network, reader, configuration=CONFIGURATION) as side,
            Phone.start(side.channel, side.terminal_id) as phone,
        ):
            agree(network, before, 0)
            receipt = phone.collect(100)
            assert (receipt.outcome, receipt.reason) == ("refused", "killed: carried off")
            wait_until(lambda: at_acquirer(network)["status"] == "killed")
            network.post("acquirer", f"/devices/{device}/reactivate", {})
            bind_again(network, side)
            assert phone.collect(100).is_approved
    assert [sale.status for sale in history(network)[:2]] == ["approved", "reversed"]
    agree(network, before, 100)


def history(network: RunningNetwork) -> list[Any]:
    with attested_phone(network, None) as side, Phone.start(side.channel, side.terminal_id) as phone:
        return phone.history(10)


def test_an_app_that_reports_a_debugger(network: RunningNetwork) -> None:
    before, device, done = network.books(), identity_of(network).device, len(attestations(network))
    with card_in_field(network.folder, ECASH) as reader, attested_phone(network, reader) as side:
        with Phone.start(side.channel, side.terminal_id) as phone:
            wait_for(phone, "signed_on")
            with pytest.raises(PhoneError) as unknown:
                phone.report(device, ["smell"])  # type: ignore[list-item]
            assert unknown.value.code == "refused"
            assert phone.report(device, ["debugger"])
        receipt = pay(side, 300)
        assert (receipt.outcome, receipt.reason) == ("refused", "the phone's keys were wiped")
        wait_until(lambda: at_acquirer(network)["status"] == "suspended")
        assert "debugger" in at_acquirer(network)["reason"]
        # the acquirer lets it prove itself anew, without its operator
        bind_again(network, side)
        receipt = pay(side, 300)
        assert (receipt.outcome, receipt.offline) == ("approved", True)
    agree(network, before, 300)
    assert attestations(network)[done:] == [("alarm", False), ("bind", True), ("transaction", True)]


TRACER = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
print(libc.ptrace(0x4206, int(sys.argv[1]), 0, 0), flush=True)  # PTRACE_SEIZE: attach and let it run
time.sleep(60)
"""


def test_a_debugger_that_is_attached_is_noticed(network: RunningNetwork) -> None:
    """Nobody reports it: the trusted side sees it by itself, wipes its keys and tells the acquirer."""
    with card_in_field(network.folder, DEBIT) as reader, attested_phone(network, reader) as side:
        with Phone.start(side.channel, side.terminal_id) as phone:
            wait_for(phone, "signed_on")
            tracer = subprocess.Popen(
                [sys.executable, "-c", TRACER, str(side.process.pid)], stdout=subprocess.PIPE, text=True
            )
            try:
                assert tracer.stdout is not None
                assert tracer.stdout.readline() == "0\n"
                wait_until(lambda: any(state.status == "wiped" for state in phone.status()))
            finally:
                tracer.kill()
                tracer.wait()
            assert phone.collect(888).reason == "the phone's keys were wiped"
        wait_until(lambda: at_acquirer(network)["status"] == "suspended")
    assert "debugger" in at_acquirer(network)["reason"]
    assert fourparty(network, "device", "--rebind").returncode == 0
    receipt, _ = tap(network, DEBIT, "1.00")
    assert receipt["outcome"] == "approved"


def test_a_phone_that_is_suspended_is_refused(network: RunningNetwork) -> None:
    before, device = network.books(), identity_of(network).device
    network.post("acquirer", f"/devices/{device}/suspend", {"reason": "under review"})
    with card_in_field(network.folder, DEBIT) as reader, attested_phone(network, reader) as side:
        receipt = pay(side, 100)
        assert receipt.outcome == "refused"
        assert (receipt.reason or "").startswith("not attested: ")
        with pytest.raises(NetworkError, match="is blocked"):
            bind_again(network, side)
        network.post("acquirer", f"/devices/{device}/reactivate", {})
        assert pay(side, 100).is_approved
    agree(network, before, 100)


def test_an_on_boarding_that_is_cut_off_goes_on(network: RunningNetwork) -> None:
    """The process dies when the acquirer has bound the phone and the phone does not know it yet."""
    kept = network.folder / "phone"
    aside = kept.rename(network.folder / "phone.aside")
    sides: list[TrustedSide] = []

    def cut(line: str) -> None:
        if line.startswith("attested and bound"):
            sides[0].process.send_signal(signal.SIGKILL)
            sides[0].process.wait()

    try:
        identity = Identity("FP-1-cut-off", "ab" * 32)
        kept.mkdir(mode=0o700)
        (kept / "phone.json").write_text(json.dumps(identity._asdict()))
        with made_phone(network, identity.device, None, folder=kept) as side:
            sides.append(side)
            with pytest.raises(NetworkError, match="could not be on-boarded"):
                onboard(network, side, identity, cut)
        terminals = [one for one in network.get("acquirer", "/devices") if one["device_id"] == identity.device]
        with card_in_field(network.folder, DEBIT) as reader, attested_phone(network, reader) as side:
            assert [side.terminal_id] == [one["terminal_id"] for one in terminals]
            assert pay(side, 100).is_approved
    finally:
        kept.rename(network.folder / "phone.cut")
        aside.rename(kept)
