"""Why a DICOMweb node gave no answer, or refused: in words that name the node, never what was asked."""

import socket
import ssl

from catalog.errors import (
    DeliveryError,
    NodeUnavailableError,
    RefusedError,
    TooManyAnswersError,
    words_of,
)
from workbench.pacs.web.node import WebNode

_TOO_MUCH = 413
_REFUSALS = {
    400: "does not understand the question",
    401: "does not know who asks; check token_variable, or the client certificate",
    403: "does not allow this bench to ask; check token_variable, or the client certificate",
    404: "has nothing there; check the url, or what is asked for is gone",
    405: "does not offer this service",
    406: "does not give it in this form",
    409: "does not take it",
    410: "has nothing there any more",
    415: "does not take this form",
    501: "does not offer this service",
}
"""Status that stays the same when asked again (PS3.18 section 8.5)."""


class NothingThereError(RefusedError):
    """There is nothing at an address of the node (status 404, 410)."""


def check(node: WebNode, status: int) -> None:
    """Raise a `catalog.errors.DeliveryError` for a status that is no success."""
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise RefusedError(
            f"{node.name} answers with another address, which is not followed; give the right url"
        )
    if status == _TOO_MUCH:
        raise TooManyAnswersError(f"{node.name} finds that too much (status 413); ask a narrower question")
    if status in _REFUSALS:
        kind = NothingThereError if status in (404, 410) else RefusedError
        raise kind(f"{node.name} {_REFUSALS[status]} (status {status})")
    if status in (408, 429) or status >= 500:
        raise NodeUnavailableError(f"{node.name} answers with status {status}")
    raise RefusedError(f"{node.name} answers with status {status}")


def failed(node: WebNode, error: Exception) -> DeliveryError:
    """Say what went wrong on the way to a node."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RefusedError(
            f"{node.name}: the certificate of {node.url} cannot be trusted ({error.verify_message}); "
            "give the certificates to check it against as ca_file"
        )
    if isinstance(error, ssl.SSLError):
        return RefusedError(
            f"{node.name}: no TLS with {node.url} ({error.reason}); it may want a client certificate"
        )
    if isinstance(error, TimeoutError):
        return unavailable(node, f"did not answer within {node.answer_seconds:g} seconds")
    if isinstance(error, socket.gaierror):
        return NodeUnavailableError(f"{node.name} cannot be reached: {node.host} cannot be looked up")
    if isinstance(error, OSError):
        return NodeUnavailableError(f"{node.name} cannot be reached at {node.url}: {words_of(error)}")
    return unavailable(node, "does not answer in HTTP")


def unavailable(node: WebNode, words: str) -> NodeUnavailableError:
    """Say that a node is of no use now."""
    return NodeUnavailableError(f"{node.name} {words}")
