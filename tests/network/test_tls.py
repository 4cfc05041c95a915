"""TLS on links: who is let in, who is not, and that those who are not harm nobody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import structlog
from structlog.testing import capture_logs
from tiny_parties import TABLES, Echo

from network import connections as connections_module
from network import tls as tls_module
from network.framing import TERMINAL_FRAMING
from network.live import LiveRuntime, run_loop
from network.service import ConfigurationError, ProcessSettings, open_tls
from network.store import Store
from network.tls import LinkTls, Tls, authenticated_member, member_of, with_member
from scenarios.demo_network.demo_ca import Authority, Subject

ACQUIRER, SWITCH = "48020000", "00010000"
HOSTS = ("127.0.0.1", "localhost")
HELLO = b"\0\x05hello"

Main = Callable[[], Coroutine[None, None, None]]


@pytest.fixture(autouse=True)
def _unconfigured_logging() -> None:
    structlog.reset_defaults()


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run a test's coroutine on either loop."""

    def run_main(main: Main) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await main()

        run_loop(limited()) if request.param == "uvloop" else asyncio.run(limited())

    return run_main


class Certificates:
    """A network's authority, another, and certificates that something is wrong with."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.other = Authority(folder / "other")
        long_ago = datetime.now(UTC) - timedelta(days=200)
        self.folder = folder
        self.switch = self.tls("switch", SWITCH)
        self.acquirer = self.tls("acquirer", ACQUIRER)
        self.nobody = self.tls("nobody", None)
        strange = self.other.issue("acquirer", Subject(HOSTS, ACQUIRER))
        self.strange = Tls(self.authority.certificate_file, *strange)
        # the authority as it was long ago signs what has expired meanwhile
        old = Authority(folder / "ca", now=long_ago)
        self.expired = Tls(
            self.authority.certificate_file, *old.issue("late", Subject(HOSTS, ACQUIRER), folder / "expired")
        )

    def tls(self, name: str, member: str | None, hosts: tuple[str, ...] = HOSTS) -> Tls:
        return Tls(self.authority.certificate_file, *self.authority.issue(name, Subject(hosts, member)))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def running(listening: LinkTls | None) -> AsyncIterator[tuple[LiveRuntime, Echo]]:
    party, store = Echo(), Store("sqlite://", TABLES, durable=False)
    runtime = LiveRuntime(party, store, random=Random(1))
    runtime.start()
    await runtime.listen("peer", "127.0.0.1", 0, TERMINAL_FRAMING, listening)
    try:
        yield runtime, party
    finally:
        await runtime.stop()
        store.close()


async def asked(runtime: LiveRuntime, context: ssl.SSLContext | None, data: bytes = HELLO) -> bytes:
    """What the listener says to this, on a connection of its own; nothing where it closes it."""
    reader, writer = await asyncio.open_connection(
        *runtime.addresses[0], ssl=context, server_hostname="127.0.0.1" if context else None
    )
    try:
        writer.write(data)
        return await reader.readexactly(10)
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return b""
    finally:
        writer.close()


ANSWER = b"\0\x08re:hello"


def test_a_terminal_knows_the_server_and_needs_no_certificate(
    run: Callable[[Main], None], certificates: Certificates
) -> None:
    outside = Tls(certificates.authority.certificate_file)

    async def main() -> None:
        async with running(certificates.acquirer.accepts_anyone()) as (runtime, party):
            assert await asked(runtime, outside.client) == ANSWER
            assert authenticated_member(party.changes[0].link) is None
            with pytest.raises(ssl.SSLCertVerificationError):
                await asked(runtime, Tls(certificates.other.certificate_file).client)

    run(main)
    assert not outside.may_listen
    with pytest.raises(tls_module.TlsError, match="certificate and a key of its own"):
        outside.server()


def test_a_member_s_link_bears_whom_its_certificate_names(
    run: Callable[[Main], None], certificates: Certificates
) -> None:
    async def main() -> None:
        async with running(certificates.switch.accepts_member()) as (runtime, party):
            assert await asked(runtime, certificates.acquirer.client) == ANSWER
            assert authenticated_member(party.changes[0].link) == ACQUIRER
            assert party.changes[0].link.startswith("peer:")

    run(main)


def test_who_is_refused_is_told_of_in_one_line_and_harms_nobody(
    run: Callable[[Main], None], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "HANDSHAKE_SECONDS", 0.3)
    monkeypatch.setattr(tls_module, "HANDSHAKE_SECONDS", 0.3)
    cases = (
        (certificates.strange.client, "TLS handshake: unable to get local issuer certificate"),
        (certificates.expired.client, "TLS handshake: certificate has expired"),
        (Tls(certificates.authority.certificate_file).client, "TLS handshake: PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (certificates.nobody.client, "the certificate names no member"),
        (certificates.switch.client, f"the certificate names member {SWITCH}, not {ACQUIRER}"),
        (None, "TLS handshake: WRONG_VERSION_NUMBER"),
    )

    async def main() -> None:
        async with running(certificates.switch.accepts_member(ACQUIRER)) as (runtime, party):
            for context, reason in cases:
                with capture_logs() as logged:
                    assert await asked(runtime, context) == b""
                    for _ in range(50):
                        if logged:
                            break
                        await asyncio.sleep(0.01)
                told = [one["reason"] for one in logged if one["event"] in ("link refused", "connection refused")]
                assert len(told) == 1, (reason, logged)
                assert reason in told[0], (reason, told)
            with capture_logs() as logged:
                reader, writer = await asyncio.open_connection(*runtime.addresses[0])
                # a handshake that stands still keeps nobody waiting, and not for ever
                assert await asked(runtime, certificates.acquirer.client) == ANSWER
                assert await reader.read(100) == b""
                writer.close()
                await asyncio.sleep(0.05)
            assert [one["reason"] for one in logged] == ["TLS handshake: not finished in time, or broken off"]
            assert await asked(runtime, certificates.acquirer.client, b"\0\x05again") == b"\0\x08re:again"
            assert {authenticated_member(change.link) for change in party.changes} == {ACQUIRER}

    run(main)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("member", f"the certificate names member {SWITCH}, not 00020000"),
        ("host", "TLS handshake: IP address mismatch"),
        ("authority", "TLS handshake: self-signed certificate in certificate chain"),
    ],
)
def test_who_dials_knows_whom(certificates: Certificates, place: str, reason: str) -> None:
    listening = certificates.switch
    dialling = certificates.acquirer.dials_member("00020000" if place == "member" else SWITCH)
    if place == "host":
        listening = certificates.tls("elsewhere", SWITCH, ("switch.example",))
    elif place == "authority":
        dialling = Tls(certificates.other.certificate_file).dials_member(SWITCH)

    async def main() -> None:
        async with running(listening.accepts_member()) as (runtime, _), running(None) as (other, party):
            with capture_logs() as logged:
                other.dial("switch", *runtime.addresses[0], TERMINAL_FRAMING, dialling)
                await asyncio.sleep(0.4)
            assert party.changes == []
            mine = [one["reason"] for one in logged if one.get("link") == "switch"]
            assert any(reason in one for one in mine), mine
            # tried again, told once
            assert place == "member" or len(mine) == 1

    run_loop(main())


def test_a_dialled_member_s_link_keeps_its_name(certificates: Certificates) -> None:
    async def main() -> None:
        async with (
            running(certificates.switch.accepts_member(ACQUIRER)) as (runtime, _),
            running(None) as (other, party),
        ):
            other.dial("switch", *runtime.addresses[0], TERMINAL_FRAMING, certificates.acquirer.dials_member(SWITCH))
            async with asyncio.timeout(5):
                while not party.changes:
                    await asyncio.sleep(0.01)
            assert party.changes[0] == ("switch", True)

    run_loop(main())


@pytest.mark.parametrize(
    ("names", "member"),
    [
        ((), None),
        ((("DNS", "urn:fourparty:member:48020000"),), None),
        ((("DNS", "x"), ("URI", "urn:fourparty:member:48020000")), ACQUIRER),
        ((("URI", "urn:fourparty:member:48020000"), ("URI", "urn:fourparty:member:00010000")), None),
        ((("URI", "urn:fourparty:member:4802000"),), None),
        ((("URI", "urn:fourparty:member:4802000x"),), None),
        ((("URI", "https://example/48020000"),), None),
    ],
)
def test_whom_a_certificate_names(names: tuple[tuple[str, str], ...], member: str | None) -> None:
    assert member_of({"subjectAltName": names}) == member
    assert member_of(None) is None


def test_links_that_nobody_authenticated_name_nobody() -> None:
    assert authenticated_member("member:5f-1") is None
    assert authenticated_member(with_member("member:5f-1", ACQUIRER)) == ACQUIRER


def test_files_that_make_no_tls_are_named(tmp_path: Path, certificates: Certificates) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    good = certificates.authority
    certificate, key = good.issue("acquirer", Subject(HOSTS, ACQUIRER))
    _, other_key = good.issue("switch", Subject(HOSTS, SWITCH))
    cases = (
        ({"tls_ca_file": junk}, "junk.pem does not hold the authority's certificate"),
        ({"tls_ca_file": tmp_path / "none"}, "No such file"),
        ({"tls_ca_file": good.certificate_file, "tls_certificate_file": certificate}, "give both or none"),
        ({"tls_certificate_file": certificate, "tls_key_file": key}, "tls_ca_file: it must be given"),
        (
            {"tls_ca_file": good.certificate_file, "tls_certificate_file": certificate, "tls_key_file": other_key},
            "are no certificate and its key",
        ),
        (
            {"tls_ca_file": good.certificate_file, "tls_certificate_file": certificate, "tls_key_file": tmp_path / "n"},
            "No such file",
        ),
    )
    for files, words in cases:
        settings = ProcessSettings(database="sqlite://", storage_key_file=tmp_path / "k", **files)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=words) as caught:
            open_tls(settings)
        assert "\n" not in str(caught.value)
    assert open_tls(ProcessSettings(database="sqlite://", storage_key_file=tmp_path / "k")) is None
