"""Parts of the HTML pages: one file each that asks nothing of any network, in light and in dark. It judges nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from geomind import __version__
from geomind.evaluation import plots
from geomind.files import atomic_path
from geomind.outputs.words import unicode_text

LONGEST_NAME = 90

_LIGHT = {
    "page": "#f4f6f8", "card": "#ffffff", "ink": plots.INK, "faint": "#5f6d79", "grid": plots.GRID, "sea": plots.SEA,
    "land": plots.LAND, "border": "#ffffff", "graticule": "#ffffff", "accent": plots.SERIES[0], "good": "#12786d",
    "warn": "#9a6407", "bad": "#c0392b", "heat": "31 95 131",
    **{f"curve-{i}": colour for i, colour in enumerate(plots.SERIES)},
    **{f"band-{i}": colour for i, (colour, _) in enumerate(plots.BANDS)},
}  # fmt: skip


def write_page(path: Path | str, *, brand: str, title: str, body: str, footer: str, style: str) -> None:
    """Write a page whole or not at all.

    Args:
        path: The file.
        brand: What kind of page it is, above its title.
        title: What it is about; any text.
        body: HTML.
        footer: HTML.
        style: The style sheet beside this module that follows the one of every page.

    Raises:
        OutputError: it cannot be written.
    """
    folder = resources.files("geomind.evaluation")
    sheets = [folder.joinpath(name).read_text(encoding="utf-8") for name in ("html_page.css", style)]
    css = ":root{" + ";".join(f"--{name}:{colour}" for name, colour in _LIGHT.items()) + "}\n" + "".join(sheets)
    name = name_text(title)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src {_hash(css)}; \
base-uri 'none'; form-action 'none'">
<title>{brand}: {name}</title>
<style>{css}</style>
</head>
<body>
<main>
<header><div class="brand">GeoMind {brand}</div><h1>{name}</h1></header>
{body}
<footer>Made by GeoMind {__version__}. Nothing on this page is loaded from elsewhere. {footer}
Outlines: Natural Earth.</footer>
</main>
</body>
</html>
"""
    with atomic_path(path) as temporary:
        temporary.write_bytes(page.encode())


def _hash(text: str) -> str:
    """Name a style to the content security policy (W3C, CSP Level 3, 2.3.1), so that no other one counts."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def plain_text(text: str) -> str:
    """Write any text as HTML."""
    return html.escape(unicode_text(text))


def cut_text(text: str, longest: int = LONGEST_NAME) -> str:
    """Take the middle out of a long text: a path's beginning and end say most."""
    return text if len(text) <= longest else f"{text[: longest // 3]} … {text[-(longest - longest // 3) :]}"


def name_text(text: str) -> str:
    """Write a name as HTML, not too much of it."""
    return plain_text(cut_text(text))


def card(content: str) -> str:
    """Put HTML on a card."""
    return f'<div class="card">{content}</div>'


def facts_row(facts: Iterable[tuple[str, str]]) -> str:
    """Write figures, each large with its words below: (HTML, HTML)."""
    return '<div class="facts">' + "".join(f"<div><b>{a}</b><span>{b}</span></div>" for a, b in facts) + "</div>"


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of cells that are HTML already; a head that begins with ">" stands over numbers."""
    kinds = [' class="number"' if head.startswith(">") else "" for head in heads]
    head = "".join(f"<th{kind}>{each.removeprefix('>')}</th>" for kind, each in zip(kinds, heads, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def share_bar(share: float) -> str:
    """Draw a share of the width of its cell. It has no style of its own, which the page's policy would not allow."""
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none">'
        f'<rect class="bar" width="{100 * share:.1f}" height="10"/></svg>'
    )


def chart_sample(kind: str, width: int, stroke: float | None = None) -> str:
    """Draw a piece of a chart for its legend."""
    way = f'stroke-width="{stroke}" d="M{width / 2:g} 6h0"' if stroke else f'd="M0 6h{width}"'
    return f'<svg viewBox="0 0 {width} 12"><path class="{kind}" {way}/></svg>'


def chart_legend(samples: Iterable[tuple[str, str]], title: str = "") -> str:
    """Write what the parts of a chart mean: (a sample, HTML)."""
    return f'<div class="legend">{title}{"".join(f"<span>{drawn}{said}</span>" for drawn, said in samples)}</div>'


def km_text(distance_km: float) -> str:
    """Write a distance; a dash where it is infinite or not a number."""
    if not np.isfinite(distance_km):
        return "–"
    if distance_km < 1:
        return f"{1000 * distance_km:,.0f} m"
    return f"{distance_km:,.1f} km" if distance_km < 10 else f"{distance_km:,.0f} km"
