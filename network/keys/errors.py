"""What a security module refuses, and why.

No message here ever carries key material, a PIN, a PAN or a clear PIN block: an error text ends up in
logs and in replies.
"""


class SecurityModuleError(Exception):
    """Base of everything the security module refuses."""


class KeyUsageError(SecurityModuleError):
    """The key exists but may not be used like this: usage, algorithm, mode of use or exportability."""


class KeyBlockError(SecurityModuleError):
    """A key block is malformed, of an unknown kind, or its MAC is wrong."""


class KeyCheckError(SecurityModuleError):
    """A received key does not have the check value that came with it."""


class PinBlockError(SecurityModuleError):
    """A PIN block does not have the format it should (response code 99)."""


class PinTranslationError(SecurityModuleError):
    """A translation between PIN block formats that ISO 9564-1 forbids was asked for."""
