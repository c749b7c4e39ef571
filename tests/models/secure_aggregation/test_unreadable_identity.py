"""Bytes that another node calls its identity are an identity or are not: no other error comes of them."""

from terrycloth.models.secure_aggregation.roster import signed_by


def test_a_point_that_says_it_is_compressed() -> None:
    """The library has an error of its own for it, which is no ValueError; it once ended the server."""
    line = (
        b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBaNVoOpEhzj9yI9zS8QQ4"
        b"7nl+oCa1PdCGrsfro1iedpnTKB/X++22wJMrm9JBivwh0QceQ2UXVhuJ3+gMp2FVMYg="
    )
    assert not signed_by(line, b"signature", b"statement")
