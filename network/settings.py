"""A process's settings: defaults, then a TOML file, then the environment (``FOURPARTY_...``); secrets are files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Final, NamedTuple, TypeVar

import sqlalchemy as sa
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from network.keys import SecurityModule, SecurityModuleError
from network.tls import Tls, TlsError
from network.waiting import wait_for_files


class ConfigurationError(Exception):
    """The process cannot start as it is configured; the message says what to change."""


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``.

        Raises
        ------
        ConfigurationError
            The text is no such address.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ConfigurationError(f"{text!r} is not an address such as 127.0.0.1:7001")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


_ENVIRONMENT: Final = SettingsConfigDict(env_prefix="FOURPARTY_", env_nested_delimiter="__", extra="ignore")
"""How settings stand in the environment, and that what is there besides is not looked at."""


class DatabaseSettings(BaseSettings):
    """Where a party's database is; what else stands in the file is not looked at.

    Attributes
    ----------
    database : str
        SQLAlchemy URL of the party's own database.
    database_password_file : Path or None
        The database's password, which the URL then need not hold.
    wait_seconds : float
        How long to wait for a database server that does not let anybody in yet.
    log_level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    """

    model_config = _ENVIRONMENT

    database: str
    database_password_file: Path | None = None
    wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content comes as the initial values."""
        return env_settings, init_settings


class TraceSettings(BaseSettings):
    """Where traces go, of every process that has a part in payments; of one without a file from the environment.

    Attributes
    ----------
    traces_endpoint : str or None
        Where an OpenTelemetry collector takes traces (OTLP over HTTP), such as ``http://127.0.0.1:4318``.
    traces_sample : float
        Share of payments that are followed, 0 to 1.
    """

    model_config = _ENVIRONMENT

    traces_endpoint: str | None = None
    traces_sample: Annotated[float, Field(ge=0, le=1)] = 1.0

    @classmethod
    def of_environment(cls) -> TraceSettings:
        """What the environment says alone.

        Raises
        ------
        ConfigurationError
            A variable's value is wrong; the message names its setting.
        """
        try:
            return cls()
        except ValidationError as error:
            raise _refused("the environment", error) from error


class ProcessSettings(DatabaseSettings, TraceSettings):
    """What every process that runs a party needs to know.

    Attributes
    ----------
    migrate : bool
        Whether a database that is behind is brought up to date when the process starts; otherwise it is refused.
    storage_key_file : Path
        Hex file with the security module's storage key.
    wait_for_files : bool
        Whether to wait, for `wait_seconds` too, for files that the settings name and that another writes.
    drain_seconds : float
        How long, once told to end, to wait for answers that others still owe.
    tls_ca_file : Path or None
        Certificates of the authorities that are trusted, PEM; None: links and REST are in clear.
    tls_certificate_file, tls_key_file : Path or None
        The process's own certificate chain and key, PEM: needed where it listens, and where it is a member.
    pcap : Path or None
        File to which what crosses the links is written.
    pcap_links : str
        ``all`` of them, or ``accepted``, those that others dial, where the other ends are captured too.
    """

    model_config = SettingsConfigDict(extra="forbid")

    migrate: bool = True
    storage_key_file: Path
    wait_for_files: bool = False
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 3.0
    tls_ca_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    pcap: Path | None = None
    pcap_links: Annotated[str, Field(pattern="^(all|accepted)$")] = "all"


class ServiceSettings(ProcessSettings):
    """What every service's process needs to know besides.

    Attributes
    ----------
    operator_token_file : Path
        The bearer token that REST callers must show.
    api : str
        Address of the REST interface.
    metrics_open : bool
        Whether ``/metrics`` is answered without the token: for scrapers in a closed network.
    """

    operator_token_file: Path
    api: str
    metrics_open: bool = False

    @field_validator("api")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            Address.parse(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text


S = TypeVar("S", bound=DatabaseSettings)


def load_settings(settings: type[S], path: Path) -> S:
    """Settings from the TOML file and the environment.

    Raises
    ------
    ConfigurationError
        The file is missing or wrong; the message names the setting.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    try:
        return settings(**content)
    except ValidationError as error:
        raise _refused(str(path), error) from error
    except SettingsError as error:
        raise ConfigurationError(f"the environment: {error}") from error


def _refused(where: str, error: ValidationError) -> ConfigurationError:
    """Which setting is wrong, and why."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return ConfigurationError(f"{where}: setting {name}: {first['msg']}")


def read_secret(path: Path) -> str:
    """A secret kept in a file of its own.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty.
    """
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not text") from error
    if not secret:
        raise ConfigurationError(f"{path} is empty")
    return secret


def open_module(storage_key_file: Path) -> SecurityModule:
    """The security module of a process.

    Raises
    ------
    ConfigurationError
        The storage key is missing or no key.
    """
    try:
        key = bytes.fromhex(read_secret(storage_key_file))
        return SecurityModule(key, SystemRandom())
    except (ValueError, SecurityModuleError) as error:
        raise ConfigurationError(f"{storage_key_file} does not hold a storage key: 32, 48 or 64 hex digits") from error


def open_tls(settings: ProcessSettings) -> Tls | None:
    """The TLS of a process; None where it has none.

    Raises
    ------
    ConfigurationError
        The settings or the files do not make it.
    """
    ca, certificate, key = settings.tls_ca_file, settings.tls_certificate_file, settings.tls_key_file
    if (certificate is None) != (key is None):
        raise ConfigurationError("tls_certificate_file and tls_key_file: give both or none")
    if ca is None:
        if certificate is not None:
            raise ConfigurationError("tls_ca_file: it must be given with tls_certificate_file")
        return None
    try:
        return Tls(ca, certificate, key)
    except TlsError as error:
        raise ConfigurationError(f"TLS: {error}") from error


def database_url(settings: DatabaseSettings) -> str:
    """The database's URL with its password, where that has a file of its own.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or the setting is no URL.
    """
    if settings.database_password_file is None:
        return settings.database
    password = read_secret(settings.database_password_file)
    try:
        url = sa.make_url(settings.database)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError("database: it is not given as a URL such as postgresql+psycopg://db/party") from error
    return url.set(password=password).render_as_string(hide_password=False)


def await_files(settings: ProcessSettings) -> None:
    """Wait for the files that settings called ``..._file`` name, where the settings say so."""
    if settings.wait_for_files:
        named = ((name, getattr(settings, name)) for name in type(settings).model_fields)
        paths = [path for name, path in named if name.endswith("_file") and isinstance(path, Path)]
        wait_for_files(paths, settings.wait_seconds)
