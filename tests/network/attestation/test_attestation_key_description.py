"""KeyDescription: built and parsed, unknown elements kept, junk refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der.decoder import decode

from network.attestation import (
    KEYMINT_TAGS,
    ApplicationId,
    AttestationError,
    AuthorizationList,
    ChainFault,
    KeyDescription,
    PackageInfo,
    RootOfTrust,
    SecurityLevel,
    VerifiedBootState,
)
from network.attestation.der import DerError, only, read, write, write_explicit, write_integer

octets = st.binary(max_size=40)
VALUES = {
    "number": st.integers(0, 1 << 63),
    "numbers": st.lists(st.integers(0, 300), unique=True, max_size=6).map(sorted).map(tuple),
    "binary": octets,
    "flag": st.just(True),
    "root": st.builds(
        RootOfTrust, octets, st.booleans(), st.sampled_from(VerifiedBootState), st.one_of(st.none(), octets)
    ),
    "application": st.builds(
        ApplicationId,
        st.lists(st.builds(PackageInfo, st.text(max_size=20), st.integers(0, 1 << 40)), max_size=1).map(tuple),
        st.lists(octets, max_size=1).map(tuple),
    ),
}
lists = st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in KEYMINT_TAGS.values()}).map(
    AuthorizationList.of
)
descriptions = st.builds(
    KeyDescription,
    st.sampled_from((1, 2, 3, 4, 100, 200, 300, 400)),
    st.sampled_from(SecurityLevel),
    st.integers(0, 400),
    st.sampled_from(SecurityLevel),
    octets,
    octets,
    lists,
    lists,
)


@given(descriptions)
def test_what_is_built_is_parsed_again(description: KeyDescription) -> None:
    encoded = description.build()
    parsed = KeyDescription.parse(encoded)
    assert parsed == description
    assert parsed.build() == encoded


@given(
    st.dictionaries(
        st.sampled_from([name for name, kind in KEYMINT_TAGS.values() if kind == "number"]), st.integers(0, 1 << 60)
    )
)
def test_values_come_back(values: dict[str, int]) -> None:
    built = AuthorizationList.of(values)
    assert built.values() == values
    assert all(built.number(name) == value for name, value in values.items())


@given(st.binary(max_size=400))
def test_junk_is_refused_with_a_reason(junk: bytes) -> None:
    with pytest.raises(AttestationError) as caught:
        KeyDescription.parse(junk)
    assert caught.value.fault is ChainFault.DESCRIPTION


@given(descriptions, st.data())
def test_a_changed_byte_never_raises_anything_else(description: KeyDescription, data: st.DataObject) -> None:
    encoded = bytearray(description.build())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    try:
        KeyDescription.parse(bytes(encoded)).hardware.values()
    except AttestationError as error:
        assert error.reason == ChainFault.DESCRIPTION.value


def test_unknown_tags_are_kept_in_their_place() -> None:
    unknown = write_explicit(9999, write_integer(7)) + write_explicit(11, b"\x05\x00")
    content = write_explicit(705, write_integer(150000)) + unknown
    parsed = AuthorizationList.parse(content)
    assert parsed.values() == {"osVersion": 150000}
    assert parsed.build() == write(0x30, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (write_explicit(705, write_integer(1)) * 2, "twice"),
        (write_integer(1), "without a tag"),
        (write_explicit(705, b"\x04\x01\x01"), "osVersion"),
        (write_explicit(704, write(0x30, b"")), "rootOfTrust has 0 members"),
        (write_explicit(503, b"\x05\x01\x00"), "noAuthRequired"),
        (write_explicit(709, b"\x04\x02\x30\x00"), "attestationApplicationId"),
        (b"\xbf\x85\x3e", "cut off"),
        (b"\xbf\xff\xff\xff\xff\x7f\x00", "too large"),
        (b"\xa1\x80\x00\x00", "indefinite"),
        (write_explicit(1, write(0x31, write_integer(1) * 300)), "more than 256"),
    ],
)
def test_malformed_lists_say_what_is_wrong(content: bytes, reason: str) -> None:
    with pytest.raises(DerError, match=reason):
        AuthorizationList.parse(content)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"colour": 1}, "holds no colour"),
        ({"osVersion": b"1"}, "cannot be a bytes"),
        ({"purpose": 2}, "cannot be a int"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, int | bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AuthorizationList.of(values)


def test_levels_and_states_that_do_not_exist() -> None:
    good = KeyDescription(
        3, SecurityLevel(1), 4, SecurityLevel(1), b"c", b"", AuthorizationList(), AuthorizationList()
    ).build()
    with pytest.raises(AttestationError, match="no level 9"):
        KeyDescription.parse(good.replace(b"\x0a\x01\x01", b"\x0a\x01\x09", 1))
    with pytest.raises(AttestationError, match="9000 bytes"):
        KeyDescription.parse(bytes(9000))
    with pytest.raises(AttestationError, match="more follows"):
        KeyDescription.parse(good + b"\x00")


def test_a_boolean_as_some_phones_write_it() -> None:
    root = write(0x30, b"\x04\x00" + b"\x01\x01\x01" + b"\x0a\x01\x00")
    parsed = AuthorizationList.parse(write_explicit(704, root)).root_of_trust
    assert parsed == RootOfTrust(b"", True, VerifiedBootState.VERIFIED, None)


@given(st.integers(-(1 << 70), 1 << 70))
def test_integers(value: int) -> None:
    encoded = write_integer(value)
    assert int.from_bytes(only(encoded, 0x02, "x"), signed=True) == value
    assert int(decode(encoded)[0]) == value


@given(st.integers(0, (1 << 28) - 1), octets)
def test_explicit_tags_of_any_number(number: int, inner: bytes) -> None:
    element, end = read(write_explicit(number, inner))
    assert (element.number, element.content, element.is_explicit) == (number, inner, True)
    assert end == len(write_explicit(number, inner))
