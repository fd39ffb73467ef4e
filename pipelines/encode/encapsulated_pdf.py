"""PDF documents as Encapsulated PDF objects (PS3.3 A.45.1)."""

from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import coded, shortened
from pipelines.encode.secondary_capture import reference
from pipelines.encode.sources import identity, inheritable, name_set_aside, without_quotes

SERIES_NUMBER = 9006
"""Of documents."""

_MAGIC = b"%PDF-"
_TITLE_LENGTH = 1024  # of an ST value (PS3.5 table 6.2-1)


@without_quotes()
def encapsulated_pdf(document: bytes, source: Dataset, *, title: str, concept: Code | None = None) -> Dataset:
    """Encode a document in the study of its source, which it names (PS3.3 C.24.2).

    Parameters
    ----------
    document
        The bytes of the PDF.
    source
        Header of an instance the document is about.
    title
        Document Title (0042,0010), and Series Description.
    concept
        Concept Name Code Sequence (0040,A043), of PS3.16 CID 7020; empty where nobody coded the title.

    Raises
    ------
    EncodeError
        If the bytes are no PDF, or the source cannot be inherited from.
    """
    if not document.startswith(_MAGIC):
        raise EncodeError("the document is no PDF: it does not begin with %PDF-")
    (header,) = inheritable([source])
    patient_name = name_set_aside(header)
    ds = SOPClass(
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        sop_class_uid=EncapsulatedPDFStorage,
        instance_number=1,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        series_description=shortened(title),
        **identity(header),
        **made_by.equipment(),
    )
    ds.PatientName = patient_name
    ds.ConversionType = "WSD"  # SC Equipment (PS3.3 C.8.6.1)
    ds.AcquisitionDateTime = None
    ds.BurnedInAnnotation = "YES"
    ds.SourceInstanceSequence = [reference(header)]
    ds.DocumentTitle = title[:_TITLE_LENGTH]
    ds.ConceptNameCodeSequence = [] if concept is None else [coded(concept)]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return ds
