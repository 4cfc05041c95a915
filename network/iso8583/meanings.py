"""What codes and positions in elements mean, and what may be shown of them: tables for descriptions and dissectors."""

from __future__ import annotations

MESSAGE_CLASSES = {
    "1": "authorisation",
    "2": "financial",
    "3": "file action",
    "4": "reversal",
    "5": "reconciliation",
    "6": "administrative",
    "8": "network management",
    "9": "signature",
}
MESSAGE_FUNCTIONS = {"0": "request", "1": "response", "2": "advice", "3": "advice response"}
PROCESSING_CODES = {
    "00": "goods and services",
    "01": "cash withdrawal",
    "03": "pre-authorisation",
    "20": "refund or void",
    "30": "balance inquiry",
    "31": "balance inquiry",
}
ENTRY_MODES = {
    "00": "unknown",
    "01": "manual",
    "02": "magnetic stripe",
    "03": "QR code",
    "05": "chip",
    "07": "contactless chip",
    "90": "magnetic stripe, complete",
    "91": "contactless magnetic stripe",
    "95": "chip, data unreliable",
    "96": "contactless",
    "98": "contactless",
}
PIN_ENTRY = {"0": "PIN unspecified", "1": "with PIN", "2": "without PIN"}
CONDITIONS = {
    "00": "normal",
    "06": "pre-authorisation",
    "08": "mail or telephone",
    "91": "with cash services",
}
NETWORK_CODES = {
    "001": "sign-on",
    "002": "sign-off",
    "101": "key exchange",
    "201": "cut-over starts",
    "202": "cut-over ends",
    "301": "echo",
}
TERMINAL_NETWORK_CODES = {
    "001": "sign-on, single-length keys",
    "002": "sign-off",
    "003": "sign-on, double-length keys",
    "004": "sign-on, double-length keys and track key",
    "201": "batch settlement",
    "202": "batch upload ends",
    "207": "batch upload ends",
    "301": "echo",
    "360": "parameters",
    "361": "parameters",
    "362": "parameters, status",
    "370": "CA keys",
    "371": "CA keys",
    "372": "CA keys, status",
    "380": "IC parameters",
    "381": "IC parameters",
    "382": "IC parameters, status",
    "390": "hot cards",
    "391": "hot cards",
    "401": "order",
    "402": "order's state",
    "403": "order is paid",
    "404": "order withdrawn",
}
CAPABILITIES = {"5": "IC", "6": "IC and contactless"}
ENCRYPTIONS = {"0": "DES", "6": "3DES", "4": "SM4"}
TERMINAL_60 = (
    ("transaction type", 2),
    ("batch", 6),
    ("network management", 3),
    ("terminal capability", 1),
    ("IC condition", 1),
    ("partial approval", 1),
    ("account type", 3),
)
TERMINAL_61 = (("batch", 6), ("STAN", 6), ("date", 4), ("authorisation method", 2), ("institution", 11))
INTERBANK_90 = (("MTI", 4), ("STAN", 6), ("transmitted", 10), ("acquirer", 11), ("forwarder", 11))
TERMINAL_48 = (
    ("domestic debit amount", 12),
    ("count", 3),
    ("credit amount", 12),
    ("count", 3),
    ("result", 1),
    ("foreign debit amount", 12),
    ("count", 3),
    ("credit amount", 12),
    ("count", 3),
    ("result", 1),
)
BALANCE = 20
ACCOUNTS = frozenset((2, 34, 102, 103))
# Elements that may carry keys, PINs or card data somewhere: shown by their length, unless asked for.
HIDDEN = frozenset((45, 46, 47, 52, 55, 57, 58, 59, 62, 96, *range(104, 128)))
SETTLEMENT = ("0500", "0510")
# Text in which a card number of some other message may stand.
FREE_TEXT = frozenset((43, 44, 48, 56, 63))
TRANSACTIONS = (
    ("0100", "03", "", "pre-authorisation"),
    ("0100", "20", "", "pre-authorisation void"),
    ("02[02]0", "00", "06", "completion"),
    ("0200", "20", "06", "completion void"),
    ("0200", "20", "", "void"),
    ("0220", "20", "", "refund"),
    ("02[02]0", "3", "", "balance inquiry"),
    ("0200", "01", "", "cash withdrawal"),
    ("0200", "00", "", "sale"),
    ("0220", "00", "", "offline sale"),
    ("0320", "", "", "batch upload"),
    ("04[02]0", "", "", "reversal"),
    ("0500", "", "", "batch settlement"),
    ("0600", "91", "", "make a token"),
    ("0600", "920", "", "suspend a token"),
    ("0600", "921", "", "resume a token"),
    ("0600", "922", "", "delete a token"),
    ("0600", "93", "", "payer's code"),
    ("0600", "94", "", "payer pays an order"),
    ("0600", "95", "", "order claimed"),
    ("0620", "", "", "script result"),
    ("0920", "", "", "signature upload"),
)
"""What a message is about: the request's MTI as a pattern, how DE3 and DE25 begin, the name. The first that fits."""

REQUIREMENTS = {
    "0": "none",
    "1": "parameters",
    "3": "sign on again",
    "4": "CA keys",
    "5": "IC parameters",
}
"""What the acquirer asks of the terminal in the head."""
