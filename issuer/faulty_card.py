"""Cards that are faulty on purpose: what a reader meets in the field, made to happen.

A `FaultProfile` says what goes wrong and when; `FaultyCard` puts it between a sound card and the reader. A conversation
begins with SELECT of the directory; commands are counted from there. Faults of a certificate's content must be signed
by the issuer, so they are written into the card by `issuer.card_profiles.personalise`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Protocol

from issuer.card_file import PPSE
from network.emv import Node, tlv

SELECT: Final = 0xA4
GET_PROCESSING_OPTIONS: Final = 0xA8
READ_RECORD: Final = 0xB2
EXTERNAL_AUTHENTICATE: Final = 0x82
GET_DATA: Final = 0xCA

GONE: Final = b""
"""What is heard of a card that has left the field."""

_OK: Final = b"\x90\x00"
_SELECT_DIRECTORY: Final = bytes((0x00, SELECT, 0x04, 0x00, len(PPSE))) + PPSE


class ApduCard(Protocol):
    """Anything that answers APDUs and can be taken out of the field."""

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU, status word included."""
        ...

    def reset(self) -> None:
        """Take the card out of the field."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """A command of a conversation: its instruction byte, and the how many-th of that instruction; 0 means each."""

    instruction: int
    occurrence: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.instruction <= 0xFF or self.occurrence < 0:
            raise ValueError("a moment has an instruction byte and an occurrence that is not negative")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The command of a moment is answered with a status word, two bytes, and not carried out."""

    moment: Moment
    status_word: bytes

    def __post_init__(self) -> None:
        if len(self.status_word) != 2:
            raise ValueError("a status word has two bytes")


@dataclass(frozen=True, slots=True)
class Alteration:
    """A data object has another value wherever the card gives it: `value`, or its own with the last bit changed."""

    tag: str
    value: bytes | None = None


class Malformation(Enum):
    """How an answer is not what it should be."""

    CUT = "its last byte is missing"
    LENGTH = "its outermost length is one too large"
    EMPTY = "it has no data"
    TEMPLATE = "its template has another tag"
    DOUBLED = "its first data object is there twice"
    HALF_STATUS = "it is one byte"
    TOO_LONG = "it is longer than any answer to a short command"


@dataclass(frozen=True, slots=True)
class MalformedAnswer:
    """The answer to the command of a moment is malformed, where it has data; the card has carried the command out."""

    moment: Moment
    how: Malformation


class Lost(Enum):
    """What does not arrive when a card is torn out of the field."""

    COMMAND = "the command: the card knows nothing of it"
    ANSWER = "the answer: the card has carried the command out"


@dataclass(frozen=True, slots=True)
class Tear:
    """The card leaves the field at a command.

    Attributes
    ----------
    command : int
        Which command of the conversation, from 1.
    lost : Lost
        What does not arrive.
    times : int
        In how many conversations it happens; afterwards the card stays in the field.

    """

    command: int
    lost: Lost = Lost.ANSWER
    times: int = 1

    def __post_init__(self) -> None:
        if self.command < 1 or self.times < 1:
            raise ValueError("a tear has a command and a number of times from 1")


@dataclass(frozen=True, slots=True)
class FaultProfile:
    """What is wrong with a card.

    Attributes
    ----------
    meaning : str
        For people.
    refusals, alterations, malformed : tuple
        Answers that are not the sound card's.
    tear : Tear or None
        When it leaves the field.
    seconds : float
        How much longer than a sound card it takes to answer; whoever holds it to a reader waits that long.
    is_other_certified : bool
        Whether its certificate is to be of another account number, see `certified_pan`.
    certificate_expiry : str or None
        YYMM, the past month that its certificate is to be good for.

    """

    meaning: str
    refusals: tuple[Refusal, ...] = ()
    alterations: tuple[Alteration, ...] = ()
    malformed: tuple[MalformedAnswer, ...] = ()
    tear: Tear | None = None
    seconds: float = 0.0
    is_other_certified: bool = False
    certificate_expiry: str | None = None

    def certified_pan(self, pan: str) -> str | None:
        """Give the account number that the certificate is to name instead of `pan`; None where it names `pan`."""
        return pan[:-1] + str((int(pan[-1]) + 1) % 10) if self.is_other_certified else None


def _refused(meaning: str, instruction: int, occurrence: int, status_word: str) -> FaultProfile:
    return FaultProfile(meaning, refusals=(Refusal(Moment(instruction, occurrence), bytes.fromhex(status_word)),))


FAULTS: Final[Mapping[str, FaultProfile]] = {
    "no_directory": _refused("has no directory of contactless applications", SELECT, 1, "6A82"),
    "card_blocked": _refused("is blocked altogether", SELECT, 1, "6A81"),
    "application_blocked": _refused("its application is blocked", SELECT, 2, "6283"),
    "application_missing": _refused("its directory names an application it has not", SELECT, 2, "6A82"),
    "other_interface": _refused("wants to be inserted", GET_PROCESSING_OPTIONS, 0, "6984"),
    "conditions": _refused("does not do this payment", GET_PROCESSING_OPTIONS, 0, "6985"),
    "see_phone": _refused("wants its holder to confirm on the phone first", GET_PROCESSING_OPTIONS, 1, "6986"),
    "memory": _refused("has a broken memory", GET_PROCESSING_OPTIONS, 0, "6581"),
    "record_missing": _refused("lacks a record that it names", READ_RECORD, 1, "6A83"),
    "last_record_missing": _refused("lacks its fourth record", READ_RECORD, 4, "6A83"),
    "issuer_refused": _refused("does not accept its issuer's answer", EXTERNAL_AUTHENTICATE, 0, "6300"),
    "wrong_issuer_certificate": FaultProfile("its issuer's certificate is damaged", alterations=(Alteration("90"),)),
    "wrong_issuer_hash": FaultProfile(
        "its issuer's exponent is not the one certified", alterations=(Alteration("9F32", b"\x01\x00\x01"),)
    ),
    "wrong_card_certificate": FaultProfile("its own certificate is damaged", alterations=(Alteration("9F46"),)),
    "wrong_card_hash": FaultProfile("its usage control was changed later", alterations=(Alteration("9F07"),)),
    "wrong_signature": FaultProfile("its signature is damaged", alterations=(Alteration("9F4B"),)),
    "wrong_signature_hash": FaultProfile("it signed other data than it gives", alterations=(Alteration("9F69"),)),
    "unknown_authority": FaultProfile("names an authority nobody knows", alterations=(Alteration("8F"),)),
    "other_account_certified": FaultProfile("its certificate is another card's", is_other_certified=True),
    "certificate_expired": FaultProfile("its certificate has expired", certificate_expiry="2001"),
    "wrong_cryptogram": FaultProfile(
        "makes cryptograms that its issuer does not find right", alterations=(Alteration("9F26"),)
    ),
    "slow": FaultProfile("takes 0.4 s longer for each answer", seconds=0.4),
} | {
    f"malformed_{name}_{how.name.lower()}": FaultProfile(
        f"its answer to {command}: {how.value}", malformed=(MalformedAnswer(moment, how),)
    )
    for name, command, moment in (
        ("directory", "SELECT of the directory", Moment(SELECT, 1)),
        ("application", "SELECT of the application", Moment(SELECT, 2)),
        ("options", "GET PROCESSING OPTIONS", Moment(GET_PROCESSING_OPTIONS, 1)),
        ("record", "READ RECORD", Moment(READ_RECORD, 1)),
    )
    for how in Malformation
}
"""Fault profiles by name; `torn` makes those of cards that leave the field."""


def torn(command: int, lost: Lost = Lost.ANSWER, times: int = 1) -> FaultProfile:
    """Give the profile of a card that leaves the field at the n-th command; see `Tear`."""
    return FaultProfile(
        f"leaves the field at command {command}, {lost.name.lower()} lost", tear=Tear(command, lost, times)
    )


class FaultyCard:
    """A sound card with faults.

    Once it has left the field it answers `GONE` until it is brought back with `reset`.

    Parameters
    ----------
    card : ApduCard
        The sound card.
    profile : FaultProfile
        What is wrong.

    Attributes
    ----------
    present : bool
        Whether it is in the field.

    """

    __slots__ = ("_counts", "_position", "_tears", "card", "present", "profile")

    def __init__(self, card: ApduCard, profile: FaultProfile) -> None:
        self.card = card
        self.profile = profile
        self.present = True
        self._tears = 0
        self._position = 0
        self._counts: Counter[int] = Counter()

    @property
    def seconds(self) -> float:
        """How much longer than a sound card it takes to answer, seconds."""
        return self.profile.seconds

    def reset(self) -> None:
        """Take the card out of the field, and bring it back."""
        self.card.reset()
        self.present = True
        self._begin()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU; `GONE` when the card has left the field or leaves it now."""
        if not self.present:
            return GONE
        if apdu.startswith(_SELECT_DIRECTORY):
            self._begin()
        self._position += 1
        instruction = apdu[1] if len(apdu) > 1 else None
        if instruction is not None:
            self._counts[instruction] += 1
        tear = self.profile.tear
        is_torn = tear is not None and tear.command == self._position and self._tears < tear.times
        if is_torn and tear is not None and tear.lost is Lost.COMMAND:
            return self._leave()
        answer = self._refusal(instruction) or self._answer(instruction, apdu)
        return self._leave() if is_torn else answer

    def __repr__(self) -> str:
        return f"FaultyCard({self.card!r}, {self.profile.meaning})"

    def _begin(self) -> None:
        self._position = 0
        self._counts.clear()

    def _leave(self) -> bytes:
        self._tears += 1
        self.present = False
        self.card.reset()
        return GONE

    def _is_now(self, moment: Moment, instruction: int | None) -> bool:
        if instruction is None or moment.instruction != instruction:
            return False
        return moment.occurrence in (0, self._counts[instruction])

    def _refusal(self, instruction: int | None) -> bytes | None:
        for refusal in self.profile.refusals:
            if self._is_now(refusal.moment, instruction):
                return refusal.status_word
        return None

    def _answer(self, instruction: int | None, apdu: bytes) -> bytes:
        answer = self.card.transmit(apdu)
        if answer[-2:] != _OK:
            return answer
        if self.profile.alterations and len(answer) > 2:
            answer = tlv.build([self._altered(node) for node in tlv.parse(answer[:-2])]) + _OK
        for malformed in self.profile.malformed if len(answer) > 2 else ():
            if self._is_now(malformed.moment, instruction):
                answer = _MALFORM[malformed.how](answer)
        return answer

    def _altered(self, node: Node) -> Node:
        if node.children:
            return replace(node, children=tuple(self._altered(child) for child in node.children))
        for alteration in self.profile.alterations:
            if alteration.tag == node.tag and node.value:
                changed = node.value[:-1] + bytes((node.value[-1] ^ 0x01,))
                return replace(node, value=changed if alteration.value is None else alteration.value)
        return node


def _cut(answer: bytes) -> bytes:
    return answer[:-3] + _OK


def _longer(answer: bytes) -> bytes:
    (tag, value), *_ = tlv.objects(answer[:-2])
    return tlv.encode(tag, value + b"\x00")[:-1] + _OK


def _other_template(answer: bytes) -> bytes:
    return b"\x80" + answer[1:]


def _doubled(answer: bytes) -> bytes:
    node, *_ = tlv.parse(answer[:-2])
    if not node.children:
        return answer[:-2] + answer
    return tlv.build([replace(node, children=(node.children[0], *node.children))]) + _OK


_MALFORM: Final[Mapping[Malformation, Callable[[bytes], bytes]]] = {
    Malformation.CUT: _cut,
    Malformation.LENGTH: _longer,
    Malformation.EMPTY: lambda _: _OK,
    Malformation.TEMPLATE: _other_template,
    Malformation.DOUBLED: _doubled,
    Malformation.HALF_STATUS: lambda answer: answer[-1:],
    Malformation.TOO_LONG: lambda answer: answer[:-2].ljust(300, b"\x00") + _OK,
}
