"""A fault proxy for any link of the network: Toxiproxy's toxics, and some that know messages."""

from scenarios.proxy.dialects import LinkDialect
from scenarios.proxy.fault_proxy import FaultProxy, Strike
from scenarios.proxy.toxics import Toxic, ToxicError, parse_toxic

__all__ = ["FaultProxy", "LinkDialect", "Strike", "Toxic", "ToxicError", "parse_toxic"]
