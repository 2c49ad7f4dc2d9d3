"""The bearer token, compared without telling by the time it takes how much of it was right."""

from __future__ import annotations

import hmac

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
        if scheme.lower() != "bearer" or not given.strip():
            return DomainError(
                ErrorCode.UNAUTHENTICATED,
                "this server needs a token: send the header 'authorization: Bearer TOKEN'.",
                field="authorization",
            )
        if not hmac.compare_digest(given.strip().encode(), self._wanted):
            return DomainError(
                ErrorCode.UNAUTHENTICATED,
                "the token is not this server's: check the header 'authorization'.",
                field="authorization",
            )
        return None
