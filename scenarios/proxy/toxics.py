"""Toxics: what a fault proxy does to one direction of a link, in Toxiproxy's vocabulary and a little more.

The first seven work on bytes and know nothing of what they carry; they take the attributes that Toxiproxy's do. The
other five work on whole messages, so the proxy must know the link's dialect; which messages they strike is said by the
attributes of `Selection`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

Stream = Literal["upstream", "downstream"]
"""A direction: upstream is what the client (who dialled) sends, downstream what it is answered."""

STREAMS: Final[tuple[Stream, Stream]] = ("upstream", "downstream")
LONGEST_NAME: Final = 100
_DAY_MS: Final = 86_400_000
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}\Z")

Milliseconds = Annotated[int, Field(ge=0, le=_DAY_MS)]
Fen = Annotated[int, Field(ge=0, lt=10**12)]


class ToxicError(ValueError):
    """A toxic that cannot be; the message names the attribute and says why."""


class Effect(BaseModel):
    """The attributes of one kind of toxic, checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(Effect):
    """Everything arrives later, by `latency` and a random part of at most `jitter` more or less, in its order."""

    latency: Milliseconds = 0
    jitter: Milliseconds = 0


class Bandwidth(Effect):
    """At most `rate` KB (1000 bytes) a second; 0 is no bound."""

    rate: Annotated[int, Field(ge=0, le=10**7)] = 0


class SlowClose(Effect):
    """The end of the stream arrives `delay` later."""

    delay: Milliseconds = 0


class Timeout(Effect):
    """Nothing arrives, and the connection is closed after `timeout`; with 0 it stays open."""

    timeout: Milliseconds = 0


class ResetPeer(Effect):
    """The connection is reset, after `timeout`."""

    timeout: Milliseconds = 0


class Slicer(Effect):
    """Data is cut into pieces of `average_size`, give or take `size_variation`, that leave `delay` us apart."""

    average_size: Annotated[int, Field(ge=1, le=1 << 20)] = 64
    size_variation: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    delay: Annotated[int, Field(ge=0, le=60_000_000)] = 0

    @model_validator(mode="after")
    def _varies_less(self) -> Slicer:
        if self.size_variation >= self.average_size:
            raise ValueError("size_variation must be less than average_size")
        return self


class LimitData(Effect):
    """The connection is closed when `bytes` have passed."""

    bytes: Annotated[int, Field(ge=0, le=1 << 50)] = 0


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Selection(Effect):
    """Which messages a toxic strikes: those that meet every condition given.

    Attributes
    ----------
    mti : tuple of str
        Message types, such as ``0210``; on a monitoring link the object's ``type``.
    terminal : str
        DE41; on a monitoring link ``terminal``.
    pan_prefix : str
        What the PAN begins with.
    code : str
        DE39.
    amount, amount_min, amount_max : int
        DE4 in fen: exactly, at least, at most.
    skip : int
        How many that meet the conditions are let pass first.
    count : int
        How many are struck after that, over all connections; 0 is no bound.
    probability : float
        With what probability one that is met is struck; it is drawn for each message, `toxicity` for each connection.
    """

    mti: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=32)], ...], BeforeValidator(_as_tuple)] = ()
    terminal: Annotated[str, Field(max_length=32)] = ""
    pan_prefix: Annotated[str, Field(pattern="^[0-9]{0,19}$")] = ""
    code: Annotated[str, Field(max_length=2)] = ""
    amount: Fen | None = None
    amount_min: Fen | None = None
    amount_max: Fen | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=0)] = 0
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0


class Duplicate(Selection):
    """The message arrives `copies` times more, the copies `delay` after it or after one another."""

    copies: Annotated[int, Field(ge=1, le=100)] = 1
    delay: Milliseconds = 0


class Reorder(Selection):
    """The message is overtaken by `after` later ones; if they do not come, it goes on after `wait`."""

    after: Annotated[int, Field(ge=1, le=1000)] = 1
    wait: Milliseconds = 1000


class Drop(Selection):
    """The message is lost."""


class Corrupt(Selection):
    """One byte is changed, or one element; the MAC stays as it was.

    Attributes
    ----------
    element : str
        ``DE4`` or ``4``; on a monitoring link a name of the object. Messages without it are not struck.
    value : str
        What it becomes; drawn, of the same form, where it is not given. Hex of an element that holds bytes.
    offset : int
        Place of the byte that is changed, counted from the first byte after the length; drawn where it is not given.
    """

    element: Annotated[str, Field(max_length=64)] = ""
    value: Annotated[str, Field(max_length=1000)] | None = None
    offset: Annotated[int, Field(ge=0, le=65_535)] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Corrupt:
        if self.element and self.offset is not None:
            raise ValueError("give either element or offset")
        if self.value is not None and not self.element:
            raise ValueError("value goes with element")
        return self


class Hold(Selection):
    """The message arrives `delay` later while others pass it; with 0 not before the toxic is removed."""

    delay: Milliseconds = 0


_EFFECTS: Final[dict[str, type[Effect]]] = {
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slow_close": SlowClose,
    "timeout": Timeout,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "limit_data": LimitData,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "drop": Drop,
    "corrupt": Corrupt,
    "hold": Hold,
}
TYPES: Final = tuple(_EFFECTS)


@dataclass(frozen=True)
class Toxic:
    """A fault on one direction of a proxy's connections.

    Parameters
    ----------
    type : str
        One of `TYPES`.
    attributes : mapping
        What its kind takes; see the classes above.
    stream : {"downstream", "upstream"}
    toxicity : float
        Probability with which a connection has it, drawn once for each.
    name : str
        ``TYPE_STREAM`` unless given; unique in its proxy.

    Raises
    ------
    ToxicError
        Names what is wrong.

    Examples
    --------
    >>> Toxic("latency", {"latency": 100}).name
    'latency_downstream'
    >>> Toxic("hold", {"mti": "0210", "delai": 100})
    Traceback (most recent call last):
    ...
    scenarios.proxy.toxics.ToxicError: hold has no attribute delai
    """

    type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stream: Stream = "downstream"
    toxicity: float = 1.0
    name: str = ""
    effect: Effect = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.type not in _EFFECTS:
            raise ToxicError(f"there is no toxic {self.type!r}; there are {', '.join(TYPES)}")
        if self.stream not in STREAMS:
            raise ToxicError(f"{self.type}: a stream is upstream or downstream, not {self.stream!r}")
        if isinstance(self.toxicity, bool) or not isinstance(self.toxicity, int | float) or not 0 <= self.toxicity <= 1:
            raise ToxicError(f"{self.type}: toxicity is a number from 0 to 1")
        if not isinstance(self.attributes, Mapping):
            raise ToxicError(f"{self.type}: attributes are an object")
        name = self.name or f"{self.type}_{self.stream}"
        if not isinstance(name, str) or not _NAME.match(name):
            raise ToxicError(f"{self.type}: a name has 1 to {LONGEST_NAME} letters, digits, _ . : or -")
        object.__setattr__(self, "name", name)
        try:
            effect = _EFFECTS[self.type](**self.attributes)
        except ValidationError as error:
            raise ToxicError(f"{self.type} {_told(error)}") from None
        object.__setattr__(self, "effect", effect)

    @property
    def knows_messages(self) -> bool:
        """Whether it strikes messages, not bytes."""
        return isinstance(self.effect, Selection)

    def changed(self, attributes: Mapping[str, Any] | None = None, toxicity: float | None = None) -> Toxic:
        """The same toxic with some attributes changed, or another toxicity."""
        merged = {**self.attributes, **(attributes or {})}
        return Toxic(self.type, merged, self.stream, self.toxicity if toxicity is None else toxicity, self.name)

    def described(self) -> dict[str, Any]:
        """As Toxiproxy's clients know it; every attribute is named."""
        attributes = self.effect.model_dump(mode="json", exclude_none=True)
        return {
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": attributes,
        }

    @classmethod
    def from_description(cls, content: object) -> Toxic:
        """The toxic that Toxiproxy's clients describe so.

        Raises
        ------
        ToxicError
            It is not one.
        """
        if not isinstance(content, dict):
            raise ToxicError("a toxic is an object")
        unknown = sorted(set(content) - {"name", "type", "stream", "toxicity", "attributes", "hits"})
        if unknown:
            raise ToxicError(f"a toxic has no {unknown[0]}; attributes of its kind stand under attributes")
        stream = cast(Stream, content.get("stream") or "downstream")
        toxicity = content.get("toxicity", 1.0)
        return cls(
            str(content.get("type", "")),
            content.get("attributes") or {},
            stream,
            1.0 if toxicity is None else toxicity,
            content.get("name") or "",
        )


def parse_toxic(text: str) -> Toxic:
    """Read a toxic of the command line: ``TYPE[,ATTRIBUTE=VALUE...]``, with ``stream``, ``toxicity`` and ``name``.

    Several message types are joined by ``+``.

    Raises
    ------
    ToxicError
        The text is no toxic.

    Examples
    --------
    >>> parse_toxic("hold,stream=downstream,mti=0210+0410,delay=70000,count=1").attributes["mti"]
    ['0210', '0410']
    """
    kind, *pairs = [part.strip() for part in text.split(",")]
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ToxicError(f"{pair!r} is not ATTRIBUTE=VALUE")
        if name in given:
            raise ToxicError(f"{name} is given twice")
        given[name] = value.split("+") if name == "mti" else value
    try:
        toxicity = float(given.pop("toxicity", "1"))
    except ValueError:
        raise ToxicError(f"{kind}: toxicity is a number from 0 to 1") from None
    stream = given.pop("stream", "downstream")
    return Toxic(kind, given, stream, toxicity, given.pop("name", ""))


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"has no attribute {name}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"attribute {name}: {reason}" if name else f"attributes: {reason}"
