"""The data set of a C-STORE on its way into a file, behind the file meta information of its command."""

from collections.abc import Callable

from catalog.incoming import Incoming
from workbench.pacs.file_meta import file_meta
from workbench.pacs.wire.command import Command

type Begin = Callable[[], Incoming]
"""Opens a file for an object; may raise OSError."""


class Arriving:
    """Takes a data set; what keeps it from being kept is told in the answer, and its bytes are dropped.

    Parameters
    ----------
    begin
        Opens its file.
    command
        The C-STORE request.
    transfer_syntax_uid
        Of its presentation context.
    """

    def __init__(self, begin: Begin, command: Command, transfer_syntax_uid: str) -> None:
        self.incoming: Incoming | None = None
        self.trouble: OSError | ValueError | None = None
        try:
            uids = command.affected_sop_class_uid or "", command.affected_sop_instance_uid or ""
            meta = file_meta(*uids, transfer_syntax_uid)
            self.incoming = begin()
            self.incoming.write(meta)
        except (OSError, ValueError) as error:
            self._refuse(error)

    def write(self, fragment: memoryview, /) -> None:
        """Write on."""
        if self.incoming is not None:
            try:
                self.incoming.write(fragment)
            except OSError as error:
                self._refuse(error)

    def discard(self) -> None:
        """Leave nothing, unless it was taken in."""
        if self.incoming is not None:
            self.incoming.discard()

    def _refuse(self, error: OSError | ValueError) -> None:
        self.discard()
        self.incoming, self.trouble = None, error
