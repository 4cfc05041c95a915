"""A link with TLS: it passes as bytes, or the proxy ends TLS on both sides and sees its messages."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from messages import sale, stans
from pem_files import Authority
from proxy_bed import Client, run

from network.framing import MEMBER_FRAMING
from network.service import ConfigurationError
from network.tls import Tls
from scenarios.proxy import FaultProxy, LinkDialect, Toxic
from scenarios.proxy.secured import FILES, Contexts, contexts
from scenarios.proxy.serving import read_configuration

LOOPS = pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def link(
    authority: Authority, secured: Contexts, dialect: LinkDialect
) -> AsyncIterator[tuple[FaultProxy, Client]]:
    """A client and a server that echoes, each with a certificate of a member, and a proxy between them."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    far = Tls(authority.ca, *authority.make("far", "00010000")).server(mutual=True)
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=far)
    upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    proxy = FaultProxy("127.0.0.1:0", upstream, dialect, listen_tls=secured.listen, upstream_tls=secured.dial)
    await proxy.start()
    near: ssl.SSLContext = Tls(authority.ca, *authority.make("near", "48020000")).client
    client = Client(*await asyncio.open_connection(*proxy.listen, ssl=near), MEMBER_FRAMING)
    try:
        yield proxy, client
    finally:
        client.close()
        await proxy.stop()
        server.close()


@LOOPS
def test_tls_passes_untouched_as_bytes(authority: Authority, plain: bool) -> None:
    async def main() -> None:
        async with link(authority, Contexts(), LinkDialect.RAW) as (proxy, client):
            proxy.add(Toxic("slicer", {"average_size": 50}))
            proxy.add(Toxic("latency", {"latency": 5}))
            await client.send(sale(1), sale(2))
            assert stans(await client.take(2)) == [1, 2]

    run(main, plain=plain)


@LOOPS
def test_with_certificates_of_both_its_messages_are_struck(authority: Authority, plain: bool) -> None:
    listen = authority.make("as_far", "00010000")
    dial = authority.make("as_near", "48020000")
    files = (authority.ca, *listen, *dial)
    secured = contexts(dict(zip(FILES, files, strict=True)))

    async def main() -> None:
        async with link(authority, secured, LinkDialect.MEMBER) as (proxy, client):
            proxy.add(Toxic("drop", {"mti": "0200", "count": 1}))
            proxy.add(Toxic("reorder", {"count": 1}))
            await client.send(sale(1), sale(2), sale(3))
            assert stans(await client.take(2)) == [3, 2]
            assert [one.mti for one in proxy.strikes] == ["0200", "0200"]

    run(main, plain=plain)


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        ("{ ca = 'ca.pem' }", "tls: listen_certificate is missing"),
        ("{ cert = 'x' }", "tls: there is no cert; there are ca, listen_certificate"),
        ("{ ca = 'no.pem', listen_certificate = 'a', listen_key = 'b' }", "(proxy-1): tls: no.pem does not hold"),
        (
            "{ ca = 'a', listen_certificate = 'a', listen_key = 'b', dial_key = 'c' }",
            "give dial_certificate and dial_key",
        ),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, tls: str, reason: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(f"[[proxy]]\nlisten = '127.0.0.1:0'\nupstream = '127.0.0.1:1'\ntls = {tls}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(path)
    assert reason in str(caught.value)
