"""Reports as text: encapsulated PDF and CDA, structured reports, plain text files."""
