"""The token, compared without telling by the time it takes how much of it was right.

It comes as a bearer token, or as the password of basic authentication: clients that are
given an address alone make that of ``http://lrm:TOKEN@host``.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode

from lrm_server.errors import DomainError, ErrorCode


class TokenCheck:
    """Whether a request carries the server's token. Without a token everyone may enter.

    Raises:
        ValueError: the token is empty, which would let everyone in under a lock.
    """

    def __init__(self, secret: str | None) -> None:
        if secret is not None and not secret.strip():
            raise ValueError("the token is empty")
        self._wanted = secret.encode() if secret is not None else None

    @property
    def required(self) -> bool:
        """Whether there is a token."""
        return self._wanted is not None

    def refusal(self, authorization: str | None) -> DomainError | None:
        """The UNAUTHENTICATED error of a request's ``authorization`` header; None lets it in."""
        if self._wanted is None:
            return None
        scheme, _, given = (authorization or "").partition(" ")
        token = given.strip()
        if scheme.lower() == "basic":
            token = _password(token)
        elif scheme.lower() != "bearer":
            token = ""
        if not token:
            return DomainError(
                ErrorCode.UNAUTHENTICATED,
                "this server needs a token: send the header 'authorization: Bearer TOKEN', or "
                "where only an address can be given, http://lrm:TOKEN@host.",
                field="authorization",
            )
        if not hmac.compare_digest(token.encode(), self._wanted):
            return DomainError(
                ErrorCode.UNAUTHENTICATED,
                "the token is not this server's: check the header 'authorization'.",
                field="authorization",
            )
        return None


def _password(encoded: str) -> str:
    """The password of basic authentication (RFC 7617); "" where there is none."""
    try:
        return b64decode(encoded, validate=True).decode().partition(":")[2].strip()
    except (binascii.Error, ValueError):
        return ""
