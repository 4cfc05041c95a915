"""The member's side of the member link, with real keys: identities, MACs, sign-on and key resets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.iso8583 import INTERBANK, InterbankHeader, Message, interbank_mac_input
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.member import (
    ECHO,
    ECHO_INTERVAL,
    KEY_OVERLAP,
    KEY_RESET,
    KEY_RESET_SECURITY,
    MAC_KEY,
    PIN_KEY,
    SIGN_OFF,
    SIGN_ON,
    MemberSession,
    OriginalData,
    ZoneKeys,
    key_in_reset,
    mac_is_valid,
    pack_with_mac,
    reference,
    reset_with_mac,
)
from network.party import SECOND, LinkChange, Turn, Work
from network.store import Store

SWITCH = "00010000"
MEMBER = "01020000"
NOW = 1_543_910_400 * SECOND
MASTER = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
Sent = list[tuple[str, Message]]


class Switch:
    """The other end: its own security module, and messages made by hand."""

    def __init__(self) -> None:
        self.module = SecurityModule(bytes(16), Random(2))
        self.master = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, MASTER)
        self.header = InterbankHeader(destination=MEMBER, source=SWITCH)

    def key(self, which: str, algorithm: Algorithm = Algorithm.TDES_DOUBLE) -> tuple[KeyHandle, bytes]:
        if which == PIN_KEY:
            usage = KeyUsage.PIN_ENCRYPTION
        else:
            usage = KeyUsage.MAC_ALGORITHM_3 if algorithm is Algorithm.TDES_DOUBLE else KeyUsage.MAC_ALGORITHM_1
        return self.module.generate_and_export(usage, algorithm, self.master)

    def reset(self, which: str, key: KeyHandle, cryptogram: bytes, **changes: str | bytes) -> Message:
        fields: dict[int, str | bytes] = {
            7: "1204160000",
            11: "000077",
            33: SWITCH,
            53: KEY_RESET_SECURITY[which],
            70: KEY_RESET,
            100: MEMBER,
        }
        if len(cryptogram) == 16:
            fields[48] = "NK" + cryptogram.hex().upper()
        else:
            fields[96] = cryptogram
        fields |= {int(name.removeprefix("de")): value for name, value in changes.items()}
        return INTERBANK.unpack(
            reset_with_mac(Message("0800", dict(sorted(fields.items())), self.header), self.module, key)
        )

    def message(self, mti: str, fields: dict[int, str | bytes], source: str = SWITCH) -> Message:
        header = InterbankHeader(destination=MEMBER, source=source)
        common: dict[int, str | bytes] = {7: "1204160000", 11: "000078", 33: SWITCH}
        return INTERBANK.unpack(INTERBANK.pack(Message(mti, dict(sorted((common | fields).items())), header)))


class Member:
    """A member session, turn by turn."""

    def __init__(self) -> None:
        self.module = SecurityModule(bytes(range(32)), Random(1))
        self.store = Store("sqlite://", (ZoneKeys,), durable=False)
        self.unit = self.store.unit_of_work()
        master = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, MASTER)
        self.unit.insert(ZoneKeys(SWITCH, master.block, None, None, None, None, 0))
        self.unit.commit()
        self.session = MemberSession(MEMBER, SWITCH, self.module)
        self.now = NOW
        self.timers: dict[tuple[str, str], int | None] = {}

    def turn(self, act: Callable[[Turn], object]) -> Sent:
        turn = Turn(self.now, Random(1), self.unit, Work([], [], [], []))
        act(turn)
        self.unit.commit()
        self.timers.update(turn.timers)
        return [(link, INTERBANK.unpack(body)) for link, body in turn.sent]

    def up(self, link: str = "switch", *, speaks_first: bool = True) -> Sent:
        return self.turn(lambda turn: self.session.changed(turn, LinkChange(link, True), speaks_first=speaks_first))

    def down(self, link: str = "switch") -> Sent:
        return self.turn(lambda turn: self.session.changed(turn, LinkChange(link, False), speaks_first=True))

    def take(self, message: Message, link: str = "switch") -> Sent:
        taken: list[bool] = []
        sent = self.turn(lambda turn: taken.append(self.session.handle(turn, link, message)))
        assert taken == [True]
        return sent

    @property
    def timer(self) -> int | None:
        return self.timers.get((MemberSession.TIMER, SWITCH))

    @property
    def zone(self) -> ZoneKeys:
        zone = self.unit.find(ZoneKeys, "zone", SWITCH)
        assert zone is not None
        return zone


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def member() -> Iterator[Member]:
    made = Member()
    yield made
    made.store.close()


def requests(sent: Sent) -> list[tuple[object, ...]]:
    return [(link, message.mti, message.get(70), message.get(53)) for link, message in sent]


def answer(switch: Switch, message: Message, code: str) -> Message:
    return switch.message("0830", {7: message[7], 11: message[11], 39: code, 70: message[70]})


ASKS = [
    ("switch", "0820", KEY_RESET, KEY_RESET_SECURITY[PIN_KEY]),
    ("switch", "0820", KEY_RESET, KEY_RESET_SECURITY[MAC_KEY]),
]


def sign_on(member: Member, switch: Switch) -> dict[str, KeyHandle]:
    """Sign on and take both keys; the switch's handles of them."""
    ((_, request),) = member.up()
    member.take(answer(switch, request, "00"))
    keys = {}
    for which in (PIN_KEY, MAC_KEY):
        key, cryptogram = switch.key(which)
        ((_, reply),) = member.take(switch.reset(which, key, cryptogram))
        assert reply[39] == "00"
        keys[which] = key
    return keys


# sign-on


def test_sign_on_from_link_to_ready(member: Member, switch: Switch) -> None:
    ((link, request),) = member.up()
    assert (link, request.mti, request[70], request[33]) == ("switch", "0820", SIGN_ON, MEMBER)
    assert request[7] == "1204160000"
    header = request.header
    assert isinstance(header, InterbankHeader)
    assert (header.source, header.destination) == (MEMBER, SWITCH)
    assert member.timer == NOW + 5 * SECOND
    assert not member.session.is_signed_on
    sent = member.take(answer(switch, request, "00"))
    assert requests(sent) == ASKS
    assert [message[11] for _, message in sent] == ["000002", "000003"]
    assert (member.session.is_signed_on, member.session.ready) == (True, False)
    keys = {}
    for which in (PIN_KEY, MAC_KEY):
        key, cryptogram = switch.key(which)
        keys[which] = key
        reset = switch.reset(which, key, cryptogram)
        ((_, reply),) = member.take(reset)
        assert (reply.mti, reply[39], reply[70], reply[11], reply[53]) == (
            "0810",
            "00",
            KEY_RESET,
            "000077",
            KEY_RESET_SECURITY[which],
        )
        mac = reply[128]
        assert isinstance(mac, bytes)
        assert switch.module.verify_key_reset_mac(key, interbank_mac_input(reply), mac)
    assert member.session.ready
    assert member.timer == member.now + ECHO_INTERVAL
    # both ends hold the same keys
    assert member.zone.pin_key is not None
    assert member.zone.mac_key is not None
    assert member.module.load(member.zone.pin_key).check_value == keys[PIN_KEY].check_value
    assert member.module.load(member.zone.mac_key).check_value == keys[MAC_KEY].check_value
    assert member.zone.changed_at == NOW


def test_who_is_dialled_waits_for_the_switch_to_speak(member: Member, switch: Switch) -> None:
    assert member.up("peer:1", speaks_first=False) == []
    assert member.session.link is None
    sent = member.take(switch.message("0820", {70: ECHO}), "peer:1")
    assert [(link, message.mti, message[70]) for link, message in sent] == [
        ("peer:1", "0830", ECHO),
        ("peer:1", "0820", SIGN_ON),
    ]
    assert sent[0][1][39] == "00"
    assert sent[0][1][11] == "000078"
    assert member.session.link == "peer:1"


def test_an_echo_of_a_signed_on_link_is_only_answered(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    sent = member.take(switch.message("0820", {70: ECHO}))
    assert [(message.mti, message[39]) for _, message in sent] == [("0830", "00")]
    assert member.session.ready


def test_a_session_with_keys_is_not_taken_away_by_who_says_it_is_the_switch(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    sent = member.take(switch.message("0820", {70: ECHO}), "other")
    assert [(link, message.mti) for link, message in sent] == [("other", "0830")]
    assert (member.session.link, member.session.ready) == ("switch", True)
    # when its link is gone, the session moves to where the switch speaks
    member.down("switch")
    sent = member.take(switch.message("0820", {70: ECHO}), "other")
    assert [(link, message[70]) for link, message in sent] == [("other", ECHO), ("other", SIGN_ON)]
    assert (member.session.link, member.session.ready) == ("other", False)


def test_a_session_without_keys_moves_to_the_link_on_which_the_switch_speaks(member: Member, switch: Switch) -> None:
    member.up()
    sent = member.take(switch.message("0820", {70: ECHO}), "other")
    assert [(link, message[70]) for link, message in sent] == [("other", ECHO), ("other", SIGN_ON)]
    # the old link's end is no news any more
    member.down("switch")
    assert member.session.link == "other"


def test_what_is_missing_is_asked_for_again(member: Member, switch: Switch) -> None:
    ((_, request),) = member.up()
    for attempt in range(1, 4):
        member.now += 5 * SECOND
        ((_, again),) = member.turn(member.session.due)
        assert (again[70], again[11]) == (SIGN_ON, f"{attempt + 1:06d}")
        assert member.timer == member.now + 5 * SECOND
    member.take(answer(switch, request, "00"))
    assert requests(member.turn(member.session.due)) == ASKS
    key, cryptogram = switch.key(PIN_KEY)
    member.take(switch.reset(PIN_KEY, key, cryptogram))
    assert requests(member.turn(member.session.due)) == ASKS[1:]
    key, cryptogram = switch.key(MAC_KEY)
    member.take(switch.reset(MAC_KEY, key, cryptogram))
    # ready: now and then an echo
    assert [message[70] for _, message in member.turn(member.session.due)] == [ECHO]
    assert member.timer == member.now + ECHO_INTERVAL


@pytest.mark.parametrize("code", [ECHO, KEY_RESET])
def test_a_switch_that_has_lost_the_session_is_signed_on_to_anew(member: Member, switch: Switch, code: str) -> None:
    sign_on(member, switch)
    ((_, request),) = member.turn(member.session.due)
    request[70] = code
    assert member.take(answer(switch, request, "77")) == []
    assert not member.session.ready
    assert member.timer == member.now + 5 * SECOND
    ((_, again),) = member.turn(member.session.due)
    assert again[70] == SIGN_ON


def test_an_old_key_does_not_come_back_to_life(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    first = member.zone.mac_key
    key, cryptogram = switch.key(MAC_KEY)
    member.take(switch.reset(MAC_KEY, key, cryptogram))
    assert member.zone.old_mac_key == first
    member.now += KEY_OVERLAP + 1
    key, cryptogram = switch.key(PIN_KEY)
    member.take(switch.reset(PIN_KEY, key, cryptogram))
    assert member.zone.old_mac_key is None


@pytest.mark.parametrize("code", ["77", "91", "96"])
def test_a_refused_sign_on_is_tried_again_by_the_timer_only(member: Member, switch: Switch, code: str) -> None:
    ((_, request),) = member.up()
    assert member.take(answer(switch, request, code)) == []
    assert not member.session.is_signed_on
    assert requests(member.turn(member.session.due)) == [("switch", "0820", SIGN_ON, None)]


def test_a_link_that_goes_down_ends_the_session_and_the_next_needs_new_keys(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    assert member.down("another") == []
    assert member.session.ready
    assert member.down() == []
    assert (member.session.link, member.session.ready, member.session.is_signed_on) == (None, False, False)
    assert member.turn(member.session.due) == []
    ((_, request),) = member.up()
    assert requests(member.take(answer(switch, request, "00"))) == ASKS


def test_sign_off_lasts_until_the_next_sign_on(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    ((_, request),) = member.turn(member.session.sign_off)
    assert (request.mti, request[70]) == ("0820", SIGN_OFF)
    assert (member.session.ready, member.timer) == (False, None)
    assert member.turn(member.session.due) == []
    sent = member.take(switch.message("0820", {70: ECHO}))
    assert [message.mti for _, message in sent] == ["0830"]
    # a late answer to an earlier sign-on changes nothing
    assert member.take(switch.message("0830", {39: "00", 70: SIGN_ON})) == []
    assert not member.session.is_signed_on
    ((_, request),) = member.turn(lambda turn: member.session.sign_on(turn, "switch"))
    assert request[70] == SIGN_ON
    assert member.session.wanted


def test_the_trace_number_starts_again_after_its_last(member: Member) -> None:
    member.up()
    member.session._stan = 999_998
    sent = [member.turn(member.session.echo)[0][1] for _ in range(2)]
    assert [message[11] for message in sent] == ["999999", "000001"]
    assert [message[70] for message in sent] == [ECHO, ECHO]


# key resets


def replies(sent: Sent) -> list[tuple[str, object]]:
    return [(message.mti, message.get(39)) for _, message in sent]


def test_a_key_of_another_master_key_is_refused(member: Member, switch: Switch) -> None:
    keys = sign_on(member, switch)
    other = switch.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, MASTER[::-1])
    key, cryptogram = switch.module.generate_and_export(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, other)
    before = member.zone.pin_key
    assert replies(member.take(switch.reset(PIN_KEY, key, cryptogram))) == [("0810", "A0")]
    assert member.zone.pin_key == before
    assert member.zone.old_pin_key is None
    assert member.module.load(before or "").check_value == keys[PIN_KEY].check_value


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de128": b"00000000"}, "A0"),
        ({"de53": "3600000000000000"}, "30"),
        ({"de48": "NK" + "0" * 31}, "A0"),
        ({"de48": "NK" + "G" * 32}, "A0"),
        ({"de48": "XX" + "0" * 32}, "A0"),
    ],
)
def test_a_malformed_key_reset_is_refused(
    member: Member, switch: Switch, changes: dict[str, str | bytes], code: str
) -> None:
    sign_on(member, switch)
    before = (member.zone.pin_key, member.zone.mac_key)
    key, cryptogram = switch.key(PIN_KEY)
    reset = switch.reset(PIN_KEY, key, cryptogram, **{n: v for n, v in changes.items() if n != "de128"})
    if "de128" in changes:
        reset[128] = changes["de128"]
    assert replies(member.take(reset)) == [("0810", code)]
    assert (member.zone.pin_key, member.zone.mac_key) == before


def test_a_key_reset_without_key_or_mac_is_refused(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    for fields in ({53: KEY_RESET_SECURITY[PIN_KEY], 70: KEY_RESET}, {70: KEY_RESET}):
        sent = member.take(switch.message("0800", dict(fields)))
        assert replies(sent)[0][1] in ("A0", "30")


def test_a_key_reset_over_another_link_is_refused(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    key, cryptogram = switch.key(PIN_KEY)
    assert replies(member.take(switch.reset(PIN_KEY, key, cryptogram), "other")) == [("0810", "30")]


@pytest.mark.parametrize("which", [PIN_KEY, MAC_KEY])
def test_a_single_length_key_comes_in_de96(member: Member, switch: Switch, which: str) -> None:
    sign_on(member, switch)
    key, cryptogram = switch.key(which, Algorithm.DES)
    reset = switch.reset(which, key, cryptogram)
    assert 48 not in reset
    assert replies(member.take(reset)) == [("0810", "00")]
    block = member.zone.pin_key if which == PIN_KEY else member.zone.mac_key
    assert block is not None
    assert member.module.load(block).algorithm is Algorithm.DES
    if which == MAC_KEY:
        message = INTERBANK.unpack(pack_with_mac(sale(), switch.module, key))
        assert mac_is_valid(message, member.module, member.zone, NOW, 0)


def test_the_key_in_a_reset() -> None:
    header = InterbankHeader()
    assert key_in_reset(Message("0800", {48: "NK" + "0A" * 16}, header)) == b"\x0a" * 16
    assert key_in_reset(Message("0800", {96: b"12345678"}, header)) == b"12345678"
    assert key_in_reset(Message("0800", {}, header)) is None
    assert key_in_reset(Message("0800", {48: "NK" + "0 " * 16}, header)) is None


# who else may speak


@pytest.mark.parametrize("mti", ["0800", "0820", "0830"])
def test_network_management_from_someone_else_is_taken_and_ignored(member: Member, switch: Switch, mti: str) -> None:
    member.up()
    message = switch.message(mti, {39: "00", 70: SIGN_ON}, source="99999999")
    assert member.take(message) == []
    assert not member.session.is_signed_on


def test_an_answer_over_another_link_signs_nobody_on(member: Member, switch: Switch) -> None:
    ((_, request),) = member.up()
    assert member.take(answer(switch, request, "00"), "other") == []
    assert not member.session.is_signed_on


@pytest.mark.parametrize("mti", ["0200", "0210", "0420", "0430"])
def test_financial_messages_are_left_to_the_caller(member: Member, switch: Switch, mti: str) -> None:
    message = switch.message(mti, {4: "000000000100"})
    taken: list[bool] = []
    assert member.turn(lambda turn: taken.append(member.session.handle(turn, "switch", message))) == []
    assert taken == [False]


def test_unknown_management_is_answered_as_not_supported(member: Member, switch: Switch) -> None:
    sign_on(member, switch)
    assert replies(member.take(switch.message("0820", {70: "201"}))) == [("0830", "40")]


# MACs


def sale() -> Message:
    fields: dict[int, str | bytes] = {
        2: "6212345678901232",
        3: "000000",
        4: "000000001250",
        7: "1204160000",
        11: "000123",
        18: "5411",
        32: MEMBER,
        33: MEMBER,
        41: "12345678",
        42: "104310054110001",
    }
    return Message("0200", fields, InterbankHeader(destination=SWITCH, source=MEMBER))


OVERLAP = 60 * SECOND


@pytest.mark.parametrize(
    ("age", "accepted"), [(0, True), (OVERLAP - 1, True), (OVERLAP, True), (OVERLAP + 1, False), (10 * OVERLAP, False)]
)
def test_the_old_mac_key_is_accepted_within_the_overlap(
    member: Member, switch: Switch, age: int, accepted: bool
) -> None:
    old = sign_on(member, switch)[MAC_KEY]
    member.now += 1000 * SECOND
    new, cryptogram = switch.key(MAC_KEY)
    member.take(switch.reset(MAC_KEY, new, cryptogram))
    now = member.now + age
    under_old = INTERBANK.unpack(pack_with_mac(sale(), switch.module, old))
    under_new = INTERBANK.unpack(pack_with_mac(sale(), switch.module, new))
    assert mac_is_valid(under_old, member.module, member.zone, now, OVERLAP) is accepted
    assert mac_is_valid(under_new, member.module, member.zone, now, OVERLAP)


def test_the_key_before_the_old_one_is_not_accepted(member: Member, switch: Switch) -> None:
    first = sign_on(member, switch)[MAC_KEY]
    for _ in range(2):
        member.take(switch.reset(MAC_KEY, *switch.key(MAC_KEY)))
    message = INTERBANK.unpack(pack_with_mac(sale(), switch.module, first))
    assert not mac_is_valid(message, member.module, member.zone, member.now, OVERLAP)


def test_a_mac_covers_the_message(member: Member, switch: Switch) -> None:
    key = sign_on(member, switch)[MAC_KEY]
    packed = pack_with_mac(sale(), switch.module, key)
    valid = INTERBANK.unpack(packed)
    assert mac_is_valid(valid, member.module, member.zone, NOW, 0)
    for number, value in ((4, "000000001251"), (2, "6212345678901240"), (11, "000124"), (42, "104310054110002")):
        changed = INTERBANK.unpack(packed)
        changed[number] = value
        assert not mac_is_valid(changed, member.module, member.zone, NOW, 0)
    for mac in (packed[-8:-1] + bytes([packed[-1] ^ 1]), b"\0" * 8, packed[-8:].lower().replace(b"0", b"o")):
        changed = INTERBANK.unpack(packed[:-8] + mac)
        assert not mac_is_valid(changed, member.module, member.zone, NOW, 0)


def test_a_ready_mac_input_stands_for_the_message(member: Member, switch: Switch) -> None:
    key = sign_on(member, switch)[MAC_KEY]
    ready = interbank_mac_input(sale())
    packed = pack_with_mac(sale(), switch.module, key, ready)
    assert packed == pack_with_mac(sale(), switch.module, key)
    valid = INTERBANK.unpack(packed)
    assert mac_is_valid(valid, member.module, member.zone, NOW, 0, ready)
    assert not mac_is_valid(valid, member.module, member.zone, NOW, 0, ready[:-1])
    assert not mac_is_valid(INTERBANK.unpack(packed[:-8] + b"0" * 8), member.module, member.zone, NOW, 0, ready)


def test_no_mac_and_no_key_are_not_valid(member: Member, switch: Switch) -> None:
    bare = INTERBANK.unpack(INTERBANK.pack(sale()))
    assert not mac_is_valid(bare, member.module, member.zone, NOW, 0)
    key = sign_on(member, switch)[MAC_KEY]
    assert not mac_is_valid(bare, member.module, member.zone, NOW, 0)
    member.zone.mac_key = None
    message = INTERBANK.unpack(pack_with_mac(sale(), switch.module, key))
    assert not mac_is_valid(message, member.module, member.zone, NOW, 0)


# identities


DIGITS = st.text("0123456789", min_size=10, max_size=10)


@given(
    st.text("0123456789", min_size=4, max_size=4),
    st.text("0123456789", min_size=6, max_size=6),
    DIGITS,
    st.integers(0, 10**11 - 1),
    st.integers(0, 10**11 - 1),
)
def test_original_data_goes_there_and_back(mti: str, stan: str, sent: str, acquirer: int, forwarder: int) -> None:
    data = OriginalData(mti, stan, sent, str(acquirer or ""), str(forwarder or ""))
    element = data.pack()
    assert len(element) == 42
    assert OriginalData.parse(element) == data


def test_original_data_by_hand() -> None:
    element = "020000012312041600000004802000000000010000"
    assert OriginalData.parse(element) == OriginalData("0200", "000123", "1204160000", "48020000", "10000")
    assert OriginalData("0200", "000123", "1204160000", "48020000", "00010000").pack() == element


@pytest.mark.parametrize("element", ["", "0" * 41, "0" * 43, "0" * 41 + "A", "０" * 42, " " * 42, "-" + "0" * 41])
def test_original_data_of_the_wrong_form(element: str) -> None:
    with pytest.raises(ValueError, match="DE90 is not 42 digits"):
        OriginalData.parse(element)


@pytest.mark.parametrize(
    ("year", "month", "transmission", "expected_year"),
    [
        (2026, 6, "0615120000", 2026),
        (2026, 1, "0101000000", 2026),
        (2027, 1, "1231235959", 2026),
        (2027, 1, "1101000000", 2026),
        (2027, 2, "1231235959", 2026),
        (2026, 12, "0101000001", 2027),
        (2026, 12, "1231235959", 2026),
        (2026, 6, "0701000000", 2026),
        (2026, 6, "0501000000", 2026),
        (2026, 6, "XX01000000", 2026),
    ],
)
def test_the_reference_knows_its_year(year: int, month: int, transmission: str, expected_year: int) -> None:
    assert reference(year, month, transmission, "000123", "48020000") == f"{expected_year}{transmission}000123-48020000"


def test_references_grow_with_time_across_the_end_of_a_year() -> None:
    times = [(2026, 12, "1231235958"), (2026, 12, "1231235959"), (2026, 12, "0101000000"), (2027, 1, "0101000001")]
    made = [reference(*time, "000001", "48020000") for time in times]
    assert made == sorted(made)
    assert len(set(made)) == 4


def test_a_request_and_its_advice_have_one_reference_whatever_zeros_the_id_has() -> None:
    for acquirer in ("48020000", "01020000", "00010000"):
        data = OriginalData.parse(OriginalData("0200", "000123", "1204160000", acquirer, acquirer).pack())
        request = reference(2018, 12, "1204160000", "000123", acquirer)
        assert reference(2018, 12, data.transmission, data.stan, data.acquirer) == request
