"""DICOMweb (PS3.18): a node that is asked over HTTP."""
