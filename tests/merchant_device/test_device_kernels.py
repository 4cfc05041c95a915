"""The kernel as the device runs it: keys and limits from rows, offline approvals, cards torn away at each APDU."""

import pytest
from certified_card import AID, ARQC, CA_KEYS, CertifiedCard
from device_bed import TERMINAL_ID, Bed

from merchant_device.configuration import Configuration
from merchant_device.tables import IN_FORCE, WITHDRAWN, CaKey, Parameter, parameter_identifier
from network.emv import tlv
from network.party import Work

OFFLINE = Configuration(offline=True, fdda=True, floor_limit=2000, tap_tries=3)
COMMANDS = 8
"""Commands of an offline approval: directory, application, processing options, five records."""


class CashCard(CertifiedCard):
    """A card with money in it, taken off when its last record is read; it can be pulled out at a command, once."""

    def __init__(self, iad: str | None = None, leaves_at: int | None = None) -> None:
        super().__init__(*([] if iad is None else [iad]))
        self.balance = 10_000
        self.leaves_at = leaves_at
        self.stays_away = False
        self._taken = 0

    def transmit(self, apdu: bytes) -> bytes | None:  # type: ignore[override]
        if self.stays_away and self.leaves_at is None:
            return None
        response = b"\x90\x00" if apdu[1] == 0x82 else super().transmit(apdu)
        if apdu[1] == 0xA8:
            self._amount = int(apdu[7 + 4 : 7 + 10].hex())
        if (apdu[1], apdu[2], apdu[3] >> 3) == (0xB2, 3, 3) and self._taken != self.atc:
            self._taken = self.atc
            self.balance -= self._amount
        if self.leaves_at == 0:
            self.leaves_at = None
            return b""
        if self.leaves_at is not None:
            self.leaves_at -= 1
        return response


def put(bed: Bed, *rows: CaKey | Parameter) -> None:
    for row in rows:
        bed.unit.insert(row)
    bed.unit.commit()
    bed.device._kernels.changed()


def keys(status: str = IN_FORCE) -> list[CaKey]:
    return [CaKey(f"{rid.hex().upper()}{index:02X}", key.build(), status) for (rid, index), key in CA_KEYS.items()]


def limits(floor: int | None, contactless: int | None = None, application: str = "", **more: str) -> Parameter:
    terminal = more.get("terminal", TERMINAL_ID)
    identifier = parameter_identifier(terminal, application)
    return Parameter(identifier, terminal, application, floor, contactless, None, more.get("status", IN_FORCE))


def cash_bed(card: CertifiedCard, url: str = "sqlite://", **more) -> Bed:
    bed = Bed(url, configuration=more.pop("configuration", OFFLINE), **more)
    put(bed, *keys())
    bed.settle()
    for terminal in bed.terminals:
        bed.cards[terminal] = card  # type: ignore[assignment]
    return bed


def test_an_offline_sale_with_a_card_that_proves_itself():
    card = CashCard()
    bed = cash_bed(card)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["offline"], receipt["reason"]) == ("approved", True, None)
    assert len(card.commands) == COMMANDS
    assert card.balance == 10_000 - 1250
    (chip,) = bed.acquirer.told.values()
    assert tlv.flat(chip)["9F27"] == b"\x40"


@pytest.mark.parametrize("at", range(COMMANDS))
def test_the_card_pulled_out_at_each_command_and_held_there_again(at):
    """Whenever it leaves, it pays once, and the acquirer is told of that payment."""
    card = CashCard(leaves_at=at)
    bed = cash_bed(card)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["offline"]) == ("approved", True)
    assert card.balance == 10_000 - 1250
    assert len(bed.sales()) == len(bed.acquirer.told) == 1
    (chip,) = bed.acquirer.told.values()
    assert tlv.flat(chip)["9F36"] == card.atc.to_bytes(2, "big")


@pytest.mark.parametrize("at", range(COMMANDS))
def test_a_card_that_comes_back_after_its_sale_was_given_up_pays_in_the_next_one(at):
    card = CashCard(leaves_at=at)
    card.stays_away = True
    bed = cash_bed(card)
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.pass_time(61)
    assert bed.answer(ticket)["outcome"] == "refused"
    assert bed.sales() == []
    taken = 10_000 - card.balance
    card.stays_away = False
    assert bed.ask("sale", amount=1250)["offline"] is True
    assert 10_000 - card.balance == 1250, f"{taken} were taken before"
    assert len(bed.acquirer.told) == 1


@pytest.mark.parametrize("at", range(COMMANDS))
def test_an_online_card_pulled_out_at_each_command(at):
    card = CashCard(ARQC, leaves_at=at)
    bed = cash_bed(card)
    receipt = bed.ask("sale", amount=1250)
    assert receipt["outcome"] == "approved"
    assert [sale.status for sale in bed.sales()] == ["approved"]
    assert list(bed.acquirer.paid.values()) == ["paid"]
    assert not bed.acquirer.told


@pytest.mark.parametrize("turns", range(2 * COMMANDS))
def test_a_crash_at_each_turn_of_a_real_offline_sale(tmp_path, turns):
    card = CashCard()
    bed = cash_bed(card, f"sqlite:///{tmp_path / 'device.db'}")
    ticket = bed.command("sale", amount=1250)
    for _ in range(turns):
        bed.step()
        waiting = list(bed.sent)
        bed.sent.clear()
        for link, body in waiting:
            kind, _, terminal = link.partition(":")
            answer = bed.answer_of(kind, terminal, body)
            if answer is not None:
                bed.receive(link, answer)
    receipt = bed.answers.get(ticket)
    bed.work = Work([], [], [], [])
    bed.restart()
    bed.settle()
    bed.pass_time(30)
    assert (receipt is not None) <= (len(bed.sales()) == 1)
    assert len(bed.acquirer.told) == len(bed.sales())
    assert {sale.status for sale in bed.sales()} <= {"approved"}
    # the keys are there again
    card.commands.clear()
    assert bed.ask("sale", amount=1250)["offline"] is True


@pytest.mark.parametrize("rows", [[], keys(WITHDRAWN)])
def test_without_the_authoritys_key_nothing_is_approved_offline(rows):
    bed = Bed(configuration=OFFLINE)
    put(bed, *rows)
    bed.cards[TERMINAL_ID] = CashCard()  # type: ignore[assignment]
    receipt = bed.ask("sale", amount=1250)
    assert receipt["outcome"] == "refused"
    assert bed.sales() == []


@pytest.mark.parametrize(("serial", "is_offline"), [("000001", False), ("000002", True)])
def test_a_revoked_certificate_proves_nothing(serial, is_offline):
    ((rid, index),) = CA_KEYS
    revoked = f"{rid.hex()}{index:02x}{serial}"
    card = CashCard()
    bed = cash_bed(card, configuration=OFFLINE.model_copy(update={"revoked_certificates": (revoked,)}))
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"] == "approved" and receipt["offline"]) is is_offline
    assert card.balance == (10_000 - 1250 if is_offline else 10_000)


@pytest.mark.parametrize("entry", ["", "A00000033301", "A0000003330100000G", "A000000333010000011"])
def test_a_malformed_revocation_is_refused(entry):
    with pytest.raises(ValueError, match="revoked_certificates"):
        Configuration(revoked_certificates=(entry,))


def test_a_damaged_key_stops_the_process_from_starting_and_is_named():
    bed = Bed(configuration=OFFLINE)
    (key,) = keys()
    put(bed, CaKey(key.identifier, key.data[:-1] + bytes([key.data[-1] ^ 1]), IN_FORCE))
    with pytest.raises(LookupError, match=key.identifier):
        bed.restart()


@pytest.mark.parametrize(
    ("parameters", "is_offline"),
    [
        ([], True),
        ([limits(1249)], False),
        ([limits(1250)], True),
        ([limits(None)], True),
        ([limits(1249, status=WITHDRAWN)], True),
        ([limits(1249, terminal="10000002")], True),
        ([limits(1249), limits(1250, application=AID.hex().upper())], True),
        ([limits(1250), limits(1249, application=AID.hex().upper())], False),
        ([limits(1249, application="A000000333010101")], True),
    ],
)
def test_limits_come_from_rows(parameters, is_offline):
    card = CashCard()
    bed = cash_bed(card, terminals=(TERMINAL_ID, "10000002"))
    put(bed, *parameters)
    bed.ask("sale", amount=1250)
    asked = next(apdu for apdu in card.commands if apdu[1] == 0xA8)
    assert bool(asked[7 + 1] & 0x80) != is_offline, "an online cryptogram is demanded above the floor limit only"


def test_a_contactless_limit_of_the_terminal():
    bed = cash_bed(CashCard())
    put(bed, limits(None, 1250))
    assert bed.ask("sale", amount=1250)["outcome"] == "refused"
    assert bed.ask("sale", amount=1249)["outcome"] == "approved"


def test_a_turn_that_fails_leaves_no_new_kernel():
    """Limits that a turn wrote and that were not committed do not hold."""
    bed = cash_bed(CashCard())
    bed.ask("sale", amount=1250)
    before = bed.device._kernels.of(bed.unit, TERMINAL_ID)
    bed.unit.insert(limits(1))
    bed.device._kernels.changed()
    assert bed.device._kernels.of(bed.unit, TERMINAL_ID).sale.configuration != before.sale.configuration
    bed.unit.rollback()
    bed.device._saved.clear()
    bed.device.rolled_back()
    assert bed.device._kernels.of(bed.unit, TERMINAL_ID).sale.configuration == before.sale.configuration


def test_a_plain_configuration_asks_cards_as_before():
    bed = Bed()
    bed.settle()
    bed.ask("sale", amount=1250)
    card = bed.cards[TERMINAL_ID]
    assert card is not None
    assert card.commands[2][7:11].hex() == "26804000"
