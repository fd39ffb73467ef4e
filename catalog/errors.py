"""Every error the workbench raises on purpose; each says what, which object, and what to do next.

WorkbenchError
├── DeliveryError                     an instance did not reach its node
│   ├── InvalidObjectError (ValueError)  it is not fit to be sent, and was not queued
│   ├── RefusedError                  for good: the same bytes will be refused again
│   │   └── TooManyAnswersError        a question that finds more than a node answers; ask a narrower one
│   └── NodeUnavailableError (ConnectionError)  for now: the same delivery may succeed later
│       └── LimitedError               limits of the settings do not allow it now
├── DecodeError (ValueError)          pixel data that cannot be turned into stored values
│   └── CodecMissingError             the library for this transfer syntax is not installed
├── QuestionError (ValueError)        a query or `where` expression that cannot be answered
├── NotFoundError (LookupError)       no such series, array, run, node or object here
├── SettingsError (ValueError)        workbench.toml or the environment says something impossible
├── CatalogError                      the catalog cannot be read or written: disk full, read-only, damaged
│   ├── ConflictError                 for now: another process changed the same rows at the same time
│   ├── OvertakenError                an answer that was no longer waited for was not finished
│   └── SchemaError                   it was made by a newer (or no) workbench
├── HeaderError (ValueError)          a file is no readable DICOM; in bulk work it becomes an `Unreadable`
├── GeometryError (ValueError)        planes that do not form a regular volume; names the UIDs
├── ArrayError (ValueError)           a stored array that is absent, incomplete or altered
├── ExportError (ValueError)          a file for another program that cannot be written as asked
├── CohortError (ValueError)          a cohort or its manifest that cannot be frozen, read or used
│   └── ApprovalError                 the approval of a cohort has ended
├── NoRoomError (OSError)             for now: the disk is nearly full; what came is kept
├── JournalError                      the journal of a harvest that cannot be read
├── SheetError (ValueError)           a table of an experiment that cannot be read, or joined to series
├── CorrectionError (ValueError)      a correction of the catalog that cannot be made or undone
├── StepError (ValueError)            a step that cannot be found, called or encoded
└── EncodeError (ValueError)          a result that cannot become a conformant object
"""


class WorkbenchError(Exception):
    """Root of all errors raised on purpose."""


class QuestionError(WorkbenchError, ValueError):
    """A query or `where` expression that cannot be answered."""


class NotFoundError(WorkbenchError, LookupError):
    """No such series, array, run, node or object on this bench."""


class SettingsError(WorkbenchError, ValueError):
    """The settings of a bench cannot be read or are impossible."""


class CatalogError(WorkbenchError):
    """The catalog cannot be read or written."""


class ConflictError(CatalogError):
    """The database undid a transaction in favour of another; nothing of it is there, it may be done again."""


class OvertakenError(CatalogError):
    """A question was given up before it was answered, as another took its place."""


class SchemaError(CatalogError):
    """The catalog's schema does not belong to this version of the workbench."""


class HeaderError(WorkbenchError, ValueError):
    """A file that is no readable DICOM; its text is the reason, without patient data."""


class GeometryError(WorkbenchError, ValueError):
    """Planes that do not form a regular volume."""


class DecodeError(WorkbenchError, ValueError):
    """Pixel data that cannot be turned into stored values."""


class CodecMissingError(DecodeError):
    """The library that decodes this transfer syntax is not installed."""


class ArrayError(WorkbenchError, ValueError):
    """A stored array that is absent, incomplete or altered."""


class ExportError(WorkbenchError, ValueError):
    """A file for another program that cannot be written as it was asked for."""


class CohortError(WorkbenchError, ValueError):
    """A cohort, or the manifest of one, that cannot be frozen, read or used."""


class ApprovalError(CohortError):
    """The approval of a cohort has ended."""


class NoRoomError(WorkbenchError, OSError):
    """For now: so little is free on the disk that nothing more is taken in; what came is kept."""


class JournalError(WorkbenchError):
    """The journal of a harvest that cannot be read; what came by it is here all the same."""


class SheetError(WorkbenchError, ValueError):
    """A researcher's table that cannot be read, or joined to series."""


class CorrectionError(WorkbenchError, ValueError):
    """A correction of the catalog that cannot be made or undone."""


class StepError(WorkbenchError, ValueError):
    """A step that cannot be found, called or encoded."""


class EncodeError(WorkbenchError, ValueError):
    """A result that cannot become a conformant DICOM object."""


class DeliveryError(WorkbenchError):
    """An instance did not reach its node."""


class InvalidObjectError(DeliveryError, ValueError):
    """An object that must not be sent as it is; its text says what was found in it."""


class RefusedError(DeliveryError):
    """For good: the same bytes will be refused again."""


class TooManyAnswersError(RefusedError):
    """A question to a node that finds more than it, or this bench, takes; a narrower one may be answered."""


class NodeUnavailableError(DeliveryError, ConnectionError):
    """For now: the same delivery may succeed later."""


class LimitedError(NodeUnavailableError):
    """For now: what the settings allow at a node is used up, or it is not the time to ask it."""


def words_of(error: OSError) -> str:
    """Return what the system says of a call that failed, as a part of a sentence: `permission denied`."""
    return (error.strerror or "input error").lower()
