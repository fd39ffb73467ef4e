"""What the page wants to be sent, sent beside the kernel's other work: a node may take a minute to commit."""

from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any

from catalog.errors import WorkbenchError
from workbench.widgets.wire import Wire, words_of

if TYPE_CHECKING:
    from workbench.reports import Receipts


class Post:
    """Answers `send` of a page with the receipt (`workbench.widgets.wire` has the messages).

    Parameters
    ----------
    send
        Sends what is drawn to a node in a form.
    """

    def __init__(self, wire: Wire, send: "Callable[[str, str], Receipts]") -> None:
        self._wire, self._send = wire, send
        self._under_way: Thread | None = None
        wire.answers["send"] = self._asked

    def wait(self) -> None:
        """Wait for what is on its way."""
        if self._under_way is not None:
            self._under_way.join()

    def _asked(self, content: dict[str, Any], _buffers: list[bytes]) -> None:
        said = {"kind": "receipt", **{name: content.get(name) for name in ("node", "form", "run")}}
        if self._under_way is not None and self._under_way.is_alive():
            self._wire.send(said | {"error": "what was sent before is on its way; send this again then"})
            return
        node, form = str(content.get("node") or ""), str(content.get("form") or "sr")
        self._under_way = Thread(target=self._deliver, args=(said, node, form), name="send", daemon=True)
        self._under_way.start()

    def _deliver(self, said: dict[str, Any], node: str, form: str) -> None:
        try:
            receipts = self._send(node, form)
        except (WorkbenchError, OSError) as error:
            self._wire.send(said | {"error": words_of(error)})
            return
        html = "".join(each._repr_html_() for each in receipts)
        self._wire.send(said | {"html": html, "text": "\n".join(map(str, receipts))})
