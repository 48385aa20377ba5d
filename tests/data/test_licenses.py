from __future__ import annotations

import pytest

from geomind.cli.download import _LICENSES_HELP
from geomind.data.licenses import FLICKR_LICENSES, LICENSE_NAMES, license_name, parse_licenses
from geomind.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("http://creativecommons.org/licenses/by-nc-sa/2.0/", "by-nc-sa"),  # as YFCC100M writes it
        ("https://creativecommons.org/licenses/by/4.0/deed.de", "by"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "pdm"),
        ("http://www.usa.gov/copyright.shtml", "us-government"),
        ("http://flickr.com/commons/usage/", "no-known-restrictions"),
        ("4", "by"),
        ("0", "all-rights-reserved"),
        ("by-sa", "by-sa"),
        ("CC BY-SA 4.0", "by-sa"),
        ("cc-by-nc-nd-2.0", "by-nc-nd"),
        ("CC0", "cc0"),
        ("CC0 1.0", "cc0"),
        (" BY ", "by"),
        ("", ""),
        ("99", ""),
        ("9" * 5000, ""),
        ("²", ""),
        ("https://example.org/by/", ""),
        ("https://creativecommons.org/licenses/sampling/1.0/", ""),
        ("mine", ""),
    ],
)
def test_a_licence_is_known_by_any_of_its_forms(text: str, name: str) -> None:
    assert license_name(text) == name


def test_every_flickr_licence_leads_to_its_own_name() -> None:
    for number, (name, page) in FLICKR_LICENSES.items():
        assert name in LICENSE_NAMES
        assert license_name(str(number)) == license_name(page or name) == name


def test_lists_of_names() -> None:
    assert parse_licenses("cc0, BY,by-sa,") == {"cc0", "by", "by-sa"}


@pytest.mark.parametrize(("text", "said"), [("cc0,free", "no licence 'free'"), (" , ", "No licence is named")])
def test_a_name_that_is_none_is_an_error_that_lists_them(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{said}.*Choose among cc0, pdm, by,"):
        parse_licenses(text)


def test_the_help_names_every_licence() -> None:
    """The command's help repeated the names by hand."""
    assert f" {', '.join(LICENSE_NAMES)}, " in _LICENSES_HELP
