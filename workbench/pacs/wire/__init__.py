"""The wire of DICOM, without threads: PDUs (PS3.8) and DIMSE messages (PS3.7) on blocking sockets.

`connection` reads and writes PDUs, `association` speaks messages on one, as either side; `pdu`, `command` and
`messages` are bytes and rules without a socket. What is negotiated is left to pynetdicom (`negotiation`), but
for the bytes of a request (`proposal`).
"""
