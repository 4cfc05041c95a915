"""The demo authority: made once, kept while it is good, made anew when it is not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastapi
from cryptography import x509

from network.healthcheck import fault_of
from network.rest import RestThread
from network.service import Address, bind
from network.tls import Tls
from scenarios.demo_network.demo_ca import AUTHORITY_DAYS, SERVICE_DAYS, Authority, Subject, issue_all
from scenarios.demo_network.stack import CONTAINERS, make_keys

SUBJECT = Subject(("127.0.0.1", "acquirer"), "48020000")
NOW = datetime.now(UTC)


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_what_it_makes(tmp_path: Path) -> None:
    settings = issue_all(tmp_path, {"acquirer": SUBJECT, "device": Subject(("localhost",))})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("acquirer.crt", "acquirer.key", "ca.crt", "ca.key", "device.crt", "device.key")
    ]
    for key in tmp_path.glob("*.key"):
        assert key.stat().st_mode & 0o777 == 0o600
    ca, own = (x509.load_pem_x509_certificate((tmp_path / one).read_bytes()) for one in ("ca.crt", "acquirer.crt"))
    own.verify_directly_issued_by(ca)
    assert own.not_valid_after_utc - NOW < timedelta(days=SERVICE_DAYS + 1)
    assert ca.not_valid_after_utc - NOW < timedelta(days=AUTHORITY_DAYS + 1)
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["acquirer"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:fourparty:member:48020000"]
    assert settings["device"] == {
        "tls_ca_file": str(tmp_path / "ca.crt"),
        "tls_certificate_file": str(tmp_path / "device.crt"),
        "tls_key_file": str(tmp_path / "device.key"),
    }


def test_what_is_good_is_kept_and_what_is_not_is_made_anew(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path, NOW).issue("acquirer", SUBJECT)
    before = serial(certificate), serial(tmp_path / "ca.crt"), key.read_text()

    def now(days: float, subject: Subject = SUBJECT) -> tuple[int, int, str]:
        Authority(tmp_path, NOW + timedelta(days=days)).issue("acquirer", subject)
        return serial(certificate), serial(tmp_path / "ca.crt"), key.read_text()

    assert now(SERVICE_DAYS - 8) == before
    renewed = now(SERVICE_DAYS - 6)
    assert renewed[1] == before[1]
    assert (renewed[0] != before[0], renewed[2] != before[2]) == (True, True)
    other = now(SERVICE_DAYS - 6, Subject(("127.0.0.1", "elsewhere"), "48020000"))
    assert other[0] != renewed[0]
    # with the authority everything is made anew
    last = now(AUTHORITY_DAYS - 6)
    assert last[1] != before[1]
    assert last[0] != other[0]


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("acquirer", SUBJECT)
    authority = serial(tmp_path / "ca.crt")
    certificate.write_text("half a cert")
    Authority(tmp_path).issue("acquirer", SUBJECT)
    assert serial(certificate)
    key.unlink()
    before = serial(certificate)
    Authority(tmp_path).issue("acquirer", SUBJECT)
    assert (key.exists(), serial(certificate) != before, serial(tmp_path / "ca.crt")) == (True, True, authority)


def test_the_stack_s_services_get_certificates_of_their_own(tmp_path: Path) -> None:
    for name in (*CONTAINERS.values(), "postgres", "prometheus", "demo", "authority"):
        (tmp_path / name).mkdir()
    make_keys(tmp_path, tls=True)
    acquirer = tmp_path / "acquirer"
    before = serial(acquirer / "tls.crt")
    names = x509.load_pem_x509_certificate((acquirer / "tls.crt").read_bytes()).extensions
    names_of = names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type
    assert names_of(x509.DNSName) == ["acquirer", "localhost"]
    assert names_of(x509.UniformResourceIdentifier) == ["urn:fourparty:member:48020000"]
    assert (acquirer / "tls.key").stat().st_mode & 0o777 == 0o600
    # the authority's key is in no service's folder
    assert sorted(path.parent.name for path in tmp_path.rglob("ca.key")) == ["authority"]
    trusted = {path.read_bytes() for path in tmp_path.rglob("ca.crt")}
    assert len(trusted) == 1
    assert (tmp_path / "demo" / "ca.crt").exists()
    make_keys(tmp_path, tls=True)
    assert serial(acquirer / "tls.crt") == before


def test_a_health_check_trusts_the_authority_that_it_is_given(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = Tls(authority.certificate_file, *authority.issue("switch", Subject(("127.0.0.1",))))
    app = fastapi.FastAPI()
    app.get("/ready")(_ready)
    listening = bind(Address("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listening.getsockname()[1]}/ready"
    rest = RestThread(app, listening, tls.server())
    try:
        deadline = time.monotonic() + 10
        while (fault := fault_of(url, str(authority.certificate_file))) is not None:
            assert time.monotonic() < deadline, fault
        assert "certificate verify failed" in str(fault_of(url))
        assert "No such file" in str(fault_of(url, str(tmp_path / "none")))
        assert fault_of(url.replace("https", "http")) is not None
    finally:
        rest.stop()


def _ready() -> dict[str, bool]:
    return {"ready": True}
