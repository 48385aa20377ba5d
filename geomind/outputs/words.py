"""A prediction in words, and any text as XML and JSON hold it. File names may be anything; a file of ours may not."""

from __future__ import annotations

import re

from geomind.predictions import Prediction

_SURROGATES = re.compile("[\ud800-\udfff]")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What no XML 1.0 may hold, escaped or not (W3C, Extensible Markup Language 1.0, fifth edition, 2.2, Char)."""

_XML_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def unicode_text(text: str) -> str:
    r"""Give a text that UTF-8 can hold: bytes of a file name that are not UTF-8 become ``\xe9``."""
    return _SURROGATES.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python keeps such a byte as one of these code points (PEP 383); other lone surrogates stand for nothing.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else "\ufffd"


def xml_text(text: str) -> str:
    """Write a text so that it stands in an element or an attribute; what XML cannot hold becomes U+FFFD."""
    return _NO_XML.sub("\ufffd", unicode_text(text)).translate(_XML_ESCAPES)


def describe(prediction: Prediction) -> str:
    """Say what is known of a photo's place: town and country, region, radius, abstention, what went wrong."""
    parts = []
    if prediction.city or prediction.country:
        parts.append(", ".join(name for name in (prediction.city, prediction.country) if name))
    if prediction.region_name:
        share = prediction.region_probability
        parts.append(prediction.region_name + (f" ({share:.0%})" if share is not None else ""))
    if prediction.radius_km_90 is not None:
        parts.append(f"90% within {prediction.radius_km_90:,.0f} km")
    if prediction.distance_km is not None:
        parts.append(f"{prediction.distance_km:,.1f} km from the truth")
    if prediction.abstained:
        parts.append(f"abstained: {prediction.abstained}")
    if prediction.error:
        parts.append(prediction.error)
    return "; ".join(parts)
