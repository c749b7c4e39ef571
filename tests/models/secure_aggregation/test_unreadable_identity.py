"""Bytes that another node presents as its identity are accepted or refused, without any other error."""

from terrycloth.models.secure_aggregation.roster import signed_by


def test_bytes_that_claim_a_compressed_point_are_refused() -> None:
    """The library raises an error of its own here, which is no ValueError and once ended the server."""
    line = (
        b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBaNVoOpEhzj9yI9zS8QQ4"
        b"7nl+oCa1PdCGrsfro1iedpnTKB/X++22wJMrm9JBivwh0QceQ2UXVhuJ3+gMp2FVMYg="
    )
    assert not signed_by(line, b"signature", b"statement")
