"""What a node tells of its series, as rows without a file (C-FIND, Study Root; PS3.4 C.6.2)."""

from collections.abc import Iterator, Mapping, Sequence

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.presentation import build_context

from catalog.attributes import Attribute, Kind
from catalog.records import RemoteSeries, Value
from workbench.pacs import dimse
from workbench.pacs.association import associate
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.matching import OF_SERIES, OF_STUDY, asked_of
from workbench.pacs.sop_classes import STUDY_ROOT_FIND

_COUNT = "NumberOfSeriesRelatedInstances"


def survey(node: DimseNode, matching: Mapping[str, str]) -> Iterator[RemoteSeries]:
    """Ask a node for studies, and for the series of each, on one association.

    Parameters
    ----------
    node
        The node.
    matching
        Attributes of patient, study and series by keyword or column name, to what the node matches them with:
        a value, a wildcard, a range of dates, UIDs with backslashes between (PS3.4 C.2.2.2).

    Raises
    ------
    catalog.errors.QuestionError
        If a name is no attribute of patient, study or series; before the node is asked.
    catalog.errors.DeliveryError
        If the node does not answer, refuses, or finds more studies than one question may.
    """
    return _survey(node, asked_of(matching))


def _survey(node: DimseNode, asked: Mapping[Attribute, str]) -> Iterator[RemoteSeries]:
    with associate(node, [build_context(STUDY_ROOT_FIND)]) as association:
        studies = list(dimse.matches(association, _identifier("STUDY", OF_STUDY, asked)))
        for study in studies:
            of_study = _values(study, OF_STUDY)
            uid = of_study.get("study_instance_uid")
            if not uid:
                continue  # an answer without its unique key names nothing (PS3.4 C.2.2.1)
            identifier = _identifier("SERIES", OF_SERIES, asked)
            identifier.StudyInstanceUID = str(uid)
            setattr(identifier, _COUNT, None)
            for series in dimse.matches(association, identifier):
                yield RemoteSeries(
                    of_study | _values(series, OF_SERIES),
                    node.address,
                    node.address,
                    instances=_number(series.get(_COUNT), int),
                )


def _identifier(level: str, attributes: Sequence[Attribute], asked: Mapping[Attribute, str]) -> Dataset:
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level
    for attribute in attributes:
        identifier.add(_key(attribute, asked.get(attribute)))
    return identifier


def _key(attribute: Attribute, value: str | None) -> DataElement:
    """A key as it was asked for: pydicom would tell the log of a wildcard, and its value."""
    return DataElement(attribute.tag, attribute.vr, value, validation_mode=IGNORE)


def _values(answer: Dataset, attributes: Sequence[Attribute]) -> dict[str, Value]:
    found = {each.column: _value(answer, each) for each in attributes}
    return {name: value for name, value in found.items() if value is not None}


def _value(answer: Dataset, attribute: Attribute) -> Value:
    """A value as its column has it; what the node did not send, or cannot be read, is not known."""
    try:
        value = answer.get(attribute.keyword)
    except Exception:  # whatever pydicom stumbles over in the bytes of a peer is no value
        return None
    if value is None or value == "":
        return None
    match attribute.kind:
        case Kind.INTEGER:
            return _number(value, int)
        case Kind.REAL:
            return _number(value, float)
        case Kind.TEXT | Kind.NUMBERS:
            several = value if isinstance(value, MultiValue) else [value]
            return "\\".join(str(each) for each in several).strip(" \0") or None


def _number[Number: (int, float)](value: object, kind: type[Number]) -> Number | None:
    try:
        return kind(str(value))
    except ValueError:
        return None
