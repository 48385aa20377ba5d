"""The licences under which photos are published, by one short name each. It knows no photo and no table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from geomind.errors import ConfigError

_CC = "https://creativecommons.org/"

FLICKR_LICENSES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        0: ("all-rights-reserved", ""),
        1: ("by-nc-sa", f"{_CC}licenses/by-nc-sa/2.0/"),
        2: ("by-nc", f"{_CC}licenses/by-nc/2.0/"),
        3: ("by-nc-nd", f"{_CC}licenses/by-nc-nd/2.0/"),
        4: ("by", f"{_CC}licenses/by/2.0/"),
        5: ("by-sa", f"{_CC}licenses/by-sa/2.0/"),
        6: ("by-nd", f"{_CC}licenses/by-nd/2.0/"),
        7: ("no-known-restrictions", "https://www.flickr.com/commons/usage/"),
        8: ("us-government", "https://www.usa.gov/government-copyright"),
        9: ("cc0", f"{_CC}publicdomain/zero/1.0/"),
        10: ("pdm", f"{_CC}publicdomain/mark/1.0/"),
        11: ("by", f"{_CC}licenses/by/4.0/"),
        12: ("by-sa", f"{_CC}licenses/by-sa/4.0/"),
        13: ("by-nd", f"{_CC}licenses/by-nd/4.0/"),
        14: ("by-nc", f"{_CC}licenses/by-nc/4.0/"),
        15: ("by-nc-sa", f"{_CC}licenses/by-nc-sa/4.0/"),
        16: ("by-nc-nd", f"{_CC}licenses/by-nc-nd/4.0/"),
    }
)
"""Flickr's id -> short name and page of the licence. flickr.photos.licenses.getInfo documents 0 to 10; 11 to 16 came
with Creative Commons 4.0 in June 2025, in the order in which the Flickr Foundation's client lists them."""

LICENSE_NAMES: tuple[str, ...] = (
    "cc0", "pdm", "by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "us-government", "no-known-restrictions",
    "all-rights-reserved",
)  # fmt: skip
"""Every short name, the freest first. cc0 and pdm ask for nothing, by asks for the author's name, sa for the same
licence, nd for no changes, nc for no business."""

_BY_PAGE = {page.split("://")[1]: name for name, page in FLICKR_LICENSES.values() if page and _CC not in page}

_OLD_PAGES = {"flickr.com/commons/usage/": "no-known-restrictions", "www.usa.gov/copyright.shtml": "us-government"}

_CC_PAGE = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)")

_CC_PARTS = {"zero": "cc0", "mark": "pdm"}


def license_name(text: str) -> str:
    """Find the short name of a licence in a table's cell; "" where it says none that is known.

    A cell may hold the address of the licence (the YFCC100M dump), Flickr's id of it (its API), or its name
    (``by-sa``, ``CC BY-SA 4.0``).
    """
    text = text.strip().lower()
    if text.isascii() and text.isdecimal():
        return FLICKR_LICENSES.get(int(text[:4]), ("", ""))[0]
    if match := _CC_PAGE.search(text):
        name = _CC_PARTS.get(match[1], match[1])
    elif "://" in text:
        page = text.split("://")[1]
        name = (_BY_PAGE | _OLD_PAGES).get(page, "")
    else:
        name = re.sub(r"[ _]", "-", text)
        name = re.sub(r"-\d\.\d$", "", name)  # the version
        name = name if name.startswith("cc0") else name.removeprefix("cc-")
    return name if name in LICENSE_NAMES else ""


def parse_licenses(text: str) -> frozenset[str]:
    """Read a list of short names, as a command line gives it.

    Raises:
        ConfigError: it is empty, or a name is none of ``LICENSE_NAMES``.
    """
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in LICENSE_NAMES]
    if unknown or not names:
        what = f"There is no licence '{unknown[0]}'" if unknown else "No licence is named"
        raise ConfigError(f"{what}. Choose among {', '.join(LICENSE_NAMES)}, separated by commas.")
    return frozenset(names)
