"""What a DICOMweb node tells of its series, as rows without a file (QIDO-RS), the same as by C-FIND."""

from collections.abc import Iterator, Mapping

from catalog.attributes import Attribute
from catalog.records import RemoteSeries
from workbench.pacs.matching import OF_SERIES, OF_STUDY, asked_of
from workbench.pacs.web import rows
from workbench.pacs.web.client import Client
from workbench.pacs.web.node import WebNode
from workbench.pacs.web.qido import search

STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
_SERIES_OF_STUDY, _INSTANCES_OF_SERIES = 0x00201206, 0x00201209  # Number of … Related …


def survey(node: WebNode, matching: Mapping[str, str]) -> Iterator[RemoteSeries]:
    """Ask a node for studies, and for the series of each; as `workbench.pacs.node.Node.survey`."""
    return _survey(node, asked_of(matching))


def _survey(node: WebNode, asked: Mapping[Attribute, str]) -> Iterator[RemoteSeries]:
    of_series = {each: value for each, value in asked.items() if each in OF_SERIES}
    of_study = {each: value for each, value in asked.items() if each in OF_STUDY}
    with Client(node) as client:
        studies = search(
            client, "/studies", STUDY_INSTANCE_UID, matching=of_study,
            returned=[*(each.tag for each in OF_STUDY), _SERIES_OF_STUDY],
        )  # fmt: skip
        asked_for = [
            (rows.values(each, OF_STUDY), rows.number(each, _SERIES_OF_STUDY)) for each in studies
        ]  # all of them before series: pages that are far apart in time may shift
        for told, count in asked_for:
            path = f"/studies/{told['study_instance_uid']}/series"
            found = search(
                client, path, SERIES_INSTANCE_UID, matching=of_series,
                returned=[*(each.tag for each in OF_SERIES), _INSTANCES_OF_SERIES],
                expected=None if of_series else count,
            )  # fmt: skip
            for series in found:
                yield RemoteSeries(
                    told | rows.values(series, OF_SERIES),
                    node.address,
                    node.address,
                    instances=rows.number(series, _INSTANCES_OF_SERIES),
                )
