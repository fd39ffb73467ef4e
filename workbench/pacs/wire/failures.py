"""How an association ends otherwise than by its release."""

_SOURCES = {0: "its application", 2: "its upper layer"}
_ABORT_REASONS = {
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
"""Source and reason of an A-ABORT (PS3.8 table 9-26)."""

_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling ae title not recognised",
    (1, 7): "called ae title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


class WireError(ConnectionError):
    """The association is at its end; its connection is closed, or of no more use."""


class LostError(WireError):
    """The connection ended, or nothing came, or nothing could be sent, in time."""


class RejectedError(WireError):
    """The other side answered A-ASSOCIATE-RJ.

    Parameters
    ----------
    result, source, diagnostic
        As in the PDU (PS3.8 table 9-21).
    """

    def __init__(self, result: int, source: int, diagnostic: int) -> None:
        self.is_permanent = result == 1
        self.words = _REJECTIONS.get((source, diagnostic), f"reason {diagnostic} of source {source}")
        super().__init__(f"the association was rejected: {self.words}")


class AbortedError(WireError):
    """The other side sent A-ABORT.

    Parameters
    ----------
    source, reason
        As in the PDU (PS3.8 table 9-26).
    """

    def __init__(self, source: int, reason: int) -> None:
        who = _SOURCES.get(source, f"source {source}")
        why = f": {_ABORT_REASONS.get(reason, f'reason {reason}')}" if source == 2 and reason else ""
        super().__init__(f"the other side aborted the association ({who}{why})")


class ProtocolError(WireError):
    """The other side broke a rule; it is told so by A-ABORT.

    Parameters
    ----------
    words
        Which one; no bytes of the other side.
    reason
        Of the A-ABORT (PS3.8 table 9-26).
    """

    def __init__(self, words: str, reason: int) -> None:
        self.reason = reason
        super().__init__(words)
