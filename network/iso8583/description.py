"""Messages for people: every element with its name and what it means, secrets masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from network.iso8583.codes import RESPONSE_CODES
from network.iso8583.dialect import Dialect
from network.iso8583.header import InterbankHeader, TerminalHeader
from network.iso8583.interbank import INTERBANK
from network.iso8583.masking import mask_pan, mask_track
from network.iso8583.meanings import (
    ACCOUNTS,
    BALANCE,
    CAPABILITIES,
    CONDITIONS,
    ENCRYPTIONS,
    ENTRY_MODES,
    FREE_TEXT,
    HIDDEN,
    INTERBANK_90,
    MESSAGE_CLASSES,
    MESSAGE_FUNCTIONS,
    NETWORK_CODES,
    PIN_ENTRY,
    PROCESSING_CODES,
    SETTLEMENT,
    TERMINAL_48,
    TERMINAL_60,
    TERMINAL_61,
    TERMINAL_NETWORK_CODES,
)
from network.iso8583.message import Message, Value
from network.iso8583.terminal import TERMINAL

_LONG_DIGIT_RUN = re.compile(r"\d{13,}")
_DIGIT_RUN = re.compile(r"(?<!\d)\d{13,19}(?!\d)")  # DE44 is two institutions of up to 11 digits


def describe(message: Message, dialect: Dialect | None = None, unmask: bool = False) -> str:
    """`message` for people, one line an element, its parts indented below it.

    Parameters
    ----------
    message : Message
        Any message, partial ones included.
    dialect : Dialect or None
        Gives the names and says what the parts of an element mean; None takes the dialect of the message's header,
        the interbank dialect where it has none.
    unmask : bool
        Show PAN, tracks, PIN block and keys in clear. For demonstration keys and cards only.

    Returns
    -------
    str
        Lines without a newline at the end.
    """
    if dialect is None:
        dialect = TERMINAL if isinstance(message.header, TerminalHeader) else INTERBANK
    lines = [f"{message.mti}  {_message_type(message.mti)} ({dialect.name})", *_header(message)]
    names = {n: dialect.fields[n].name if n in dialect.fields else "" for n in message.fields}
    width = max((len(name) for name in names.values()), default=0)
    for number, value in sorted(message.fields.items()):
        shown = _show(message, dialect, number, value, unmask)
        meaning = _meaning(message, dialect, number, value)
        lines.append(f"{number:>5}  {names[number]:<{width}}  {shown}{'  ' + meaning if meaning else ''}".rstrip())
        lines += [f"{'':{width + 9}}{line}" for line in _parts(message, dialect, number, value, unmask)]
    text = "\n".join(lines)
    return text if unmask else _hide(text, _accounts(message))


def _message_type(mti: str) -> str:
    if len(mti) != 4:
        return "unknown"
    name = MESSAGE_CLASSES.get(mti[1], "reserved")
    return f"{name} {MESSAGE_FUNCTIONS.get(mti[2], 'message')}"


def _header(message: Message) -> list[str]:
    header = message.header
    if isinstance(header, TerminalHeader):
        return [
            f"       TPDU {header.tpdu.hex()}: to {header.destination} from {header.source}",
            f"       head {header.head}: application {header.application_class}, version "
            f"{header.software_version}, status {header.terminal_status}, processing requirement "
            f"{header.processing_requirement}",
        ]
    if isinstance(header, InterbankHeader):
        return [
            f"       header version {header.version:02x}: to {header.destination or '-'} from "
            f"{header.source or '-'}, batch {header.batch}, reject code {header.reject_code}",
        ]
    return [] if header is None else [f"       header {header.raw.hex()}"]


def _show(message: Message, dialect: Dialect, number: int, value: Value, unmask: bool) -> str:
    if not isinstance(value, str | bytes):
        return f"<{type(value).__name__}>"
    if unmask:
        return _plain(value)
    if isinstance(value, str):
        if number in ACCOUNTS:
            return mask_pan(value)
        if number in (35, 36):
            return mask_track(value)
    if _is_hidden(message, dialect, number, value):
        return f"<{len(value)} {'characters' if isinstance(value, str) else 'bytes'}>"
    if isinstance(value, str) and number in FREE_TEXT:
        return (_DIGIT_RUN if number == 44 else _LONG_DIGIT_RUN).sub(lambda run: mask_pan(run[0]), value)
    return _plain(value)


def _is_hidden(message: Message, dialect: Dialect, number: int, value: str | bytes) -> bool:
    """Whether the element may carry a key, a PIN or card data in this message."""
    if number == 48:
        if dialect is TERMINAL:
            return message.mti not in SETTLEMENT  # elsewhere it is details of the batch, card numbers among them
        return message.mti[1:2] == "8" or not isinstance(value, str)
    if number == 61:
        return not (dialect is TERMINAL and isinstance(value, str) and value.isdecimal())
    if number == 63:
        # Text for people in a response is what one wants to read; an SM4 PIN block (SM0, length, block) is not.
        response = message.mti[2:3] in ("1", "3")
        return not (dialect is TERMINAL and response and isinstance(value, str) and not value.startswith("SM"))
    return number in HIDDEN or (number == 36 and not isinstance(value, str))


def _plain(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    return value.decode("ascii") if len(value) == 8 and value.isalnum() else value.hex().upper()


def _meaning(message: Message, dialect: Dialect, number: int, value: Value) -> str:
    if not isinstance(value, str):
        return ""
    if number == 3:
        return PROCESSING_CODES.get(value[:2], "")
    if number in (4, 5, 6) and value.isdecimal():
        amount = f"{int(value) // 100}.{int(value) % 100:02d}"
        return f"{amount} CNY" if number == 4 and message.get(49, "156") == "156" else amount
    if number == 22:
        parts = (ENTRY_MODES.get(value[:2], ""), PIN_ENTRY.get(value[2:3], ""))
        return ", ".join(part for part in parts if part)
    if number == 25:
        return CONDITIONS.get(value, "")
    if number == 39:
        return RESPONSE_CODES.get(value, "unknown code")
    if number == 53:
        return _security(message, dialect, value)
    if number == 70:
        return NETWORK_CODES.get(value, "")
    return ""


def _security(message: Message, dialect: Dialect, value: str) -> str:
    if message.mti[1:2] == "8":
        return {"1": "PIN key", "2": "MAC key"}.get(value[:1], "") if dialect is INTERBANK else ""
    method = {"1": "PIN block without PAN", "2": "PIN block with PAN"}.get(value[:1])
    if method is None:
        return ""
    tracks = ", tracks encrypted" if value[2:3] == "1" else ""
    return f"{method}, {ENCRYPTIONS.get(value[1:2], 'unknown algorithm')}{tracks}"


def _parts(message: Message, dialect: Dialect, number: int, value: Value, unmask: bool) -> Iterable[str]:
    if number == 55 and isinstance(value, bytes):
        return _chip_data(value, unmask)
    if not isinstance(value, str):
        return ()
    if number == 54:
        return _balances(value)
    if dialect is TERMINAL:
        if number == 60:
            names: dict[str, Callable[[str], str]] = {
                "network management": lambda code: TERMINAL_NETWORK_CODES.get(code, ""),
                "terminal capability": lambda code: CAPABILITIES.get(code, ""),
            }
            return _split(value, TERMINAL_60, names)
        if number == 61 and value.isdecimal():
            return _split(value, TERMINAL_61)
        if number == 48 and message.mti in SETTLEMENT:
            return _split(value, TERMINAL_48)
    elif number == 90:
        return _split(value, INTERBANK_90)
    return ()


def _split(
    value: str, parts: tuple[tuple[str, int], ...], meanings: dict[str, Callable[[str], str]] | None = None
) -> list[str]:
    """The parts of a value that is a prefix of all of them, named."""
    lines, at = [], 0
    for name, length in parts:
        part = value[at : at + length]
        if not part:
            break
        at += length
        explain = (meanings or {}).get(name)
        meaning = explain(part) if explain else ""
        lines.append(f"{name} {part}{' (' + meaning + ')' if meaning else ''}")
    if value[at:]:
        lines.append(f"rest {value[at:]}")
    return lines


def _balances(value: str) -> list[str]:
    lines = []
    for at in range(0, len(value) - BALANCE + 1, BALANCE):
        part = value[at : at + BALANCE]
        amount = part[8:]
        if not (amount.isascii() and amount.isdecimal()):
            lines.append(f"account {part[:2]} type {part[2:4]}: not an amount")
            continue
        sign = "-" if part[7] == "D" else ""
        money = f"{sign}{int(amount) // 100}.{int(amount) % 100:02d}"
        lines.append(f"account {part[:2]} type {part[2:4]} currency {part[4:7]}: {money}")
    return lines


def _chip_data(value: bytes, unmask: bool) -> list[str]:
    try:
        from network.emv import describe_tlv
    except ImportError:
        return [value.hex().upper()] if unmask else []
    return describe_tlv(value, unmask)


def _accounts(message: Message) -> set[str]:
    """Account numbers that the message carries, to be found wherever else they might appear."""
    found = set()
    for number in (2, 34, 35, 36, 102, 103):
        value = message.get(number)
        if isinstance(value, str):
            account = re.split("[=D]", value, maxsplit=1)[0]
            if len(account) >= 12:
                found.add(account)
    return found


def _hide(text: str, accounts: set[str]) -> str:
    for account in accounts:
        text = text.replace(account, mask_pan(account))
        raw = account.encode("utf-8").hex().upper()
        text = text.replace(raw, "*" * len(raw))
    return text
