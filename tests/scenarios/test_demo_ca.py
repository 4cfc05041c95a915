"""The demo authority: made once, kept while it is good, made anew when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from scenarios.demo_ca import AUTHORITY_DAYS, SERVICE_DAYS, Authority, Subject, issue_all

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
