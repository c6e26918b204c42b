"""Flatbuffers: the schemas, and what their generated code leaves to be done by hand."""
