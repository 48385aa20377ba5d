"""The HTML page of an inspection: one file that asks nothing of any network, in light and in dark. It judges nothing.

A photo is on it as a thumbnail of a few KB without metadata; its position is left out unless it is asked for. The page
stays under 5 MB for any manifest: thumbnails, examples and rows of tables are counted, and names are cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from geomind.data.inspection import Inspection
from geomind.data.inspection.balance import COVERAGE, TOP_BLOCKS
from geomind.data.inspection.findings import CHECKS, EXAMPLES, Finding, counted, percent
from geomind.data.inspection.leakage import NEAR_KM
from geomind.data.manifest import photo_path
from geomind.evaluation import svg_charts
from geomind.evaluation.hard_examples import HardExamples
from geomind.evaluation.html_page import (
    LONGEST_NAME,
    card,
    chart_legend,
    chart_sample,
    cut_text,
    facts_row,
    html_table,
    km_text,
    name_text,
    plain_text,
    share_bar,
    write_page,
)
from geomind.files import refuse_existing
from geomind.geography import places
from geomind.progress import SILENT, Progress
from geomind.thumbnails import thumbnail_urls

MOST_THUMBNAILS = 200
THUMBNAILS_A_REGION = 8
THUMBNAIL_SIZE = (216, 144)
THUMBNAIL_BYTES = 10_000
"""No thumbnail is larger; one of noise is made coarser until it fits."""

MOST_ROWS = 25
"""Rows of the tables of countries, sources and confused pairs; the rest is summed up in one."""

_ODD = (
    "zero_coordinates", "swapped_coordinates", "mirrored_coordinates", "wrong_country", "street_photos_at_sea",
    "country_centres", "repeated_coordinates",
)  # fmt: skip
"""Checks whose photos are drawn apart on the map."""


def write_inspection_report(
    inspection: Inspection,
    path: Path | str,
    *,
    hard: HardExamples | None = None,
    show_coordinates: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Write an inspection as one HTML file.

    Args:
        inspection: What was found.
        path: The file.
        hard: What the Director confused, to be shown too.
        show_coordinates: Show the positions of the photos that are named.
        seed: Chooses the photos of the contact sheet.
        overwrite: Replace an existing file.
        progress: Shows the thumbnails made.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    sections = [
        _verdict(inspection),
        _facts(inspection),
        _findings(inspection, show_coordinates=show_coordinates),
        _regions(inspection),
        _spread(inspection),
        _splits(inspection),
        _confusions(hard) if hard is not None else "",
        _origins(inspection),
        _contact_sheet(inspection, seed=seed, progress=progress),
    ]
    kept = "shown for the photos that are named" if show_coordinates else "left out; --show-coordinates shows them"
    write_page(
        path,
        brand="inspection",
        title=str(inspection.manifest.name),
        body="\n".join(section for section in sections if section),
        footer=f"Coordinates of photos are {kept}.",
        style="inspection_report.css",
    )


# ── sections ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _verdict(inspection: Inspection) -> str:
    problems, warnings = inspection.problems, inspection.warnings
    said = f"{counted(len(warnings), 'warning')}, {counted(len(CHECKS), 'check')}"
    if inspection.fit:
        because = "Nothing was found that stands against it." if not warnings else "The warnings below may be left."
        return f'<div class="card verdict"><strong>Fit to {inspection.purpose}</strong><p>{because} {said}.</p></div>'
    reasons = "".join(f"<li><b>{plain_text(each.title)}.</b> {plain_text(each.detail)}</li>" for each in problems)
    return (
        f'<div class="card verdict unfit"><strong>Not fit to {inspection.purpose}</strong>'
        f"<p>{counted(len(problems), 'problem')} to mend first; {said}.</p><ul>{reasons}</ul></div>"
    )


def _facts(inspection: Inspection) -> str:
    balance, spread = inspection.balance, inspection.spread
    countries = len(set(inspection.rows["country"]) - {""})
    facts = [
        (f"{len(inspection.rows):,}", "photos"),
        (f"{balance.occupied} of {len(balance.regions)}", f"regions, as even as {balance.effective_regions:.1f}"),
        (f"{balance.ratio:,.0f} : 1", "largest to smallest region"),
        (f"{countries:,}", "countries"),
        (f"{spread.occupied:,}", f"places, as even as {spread.effective_blocks:,.0f}"),
        (km_text(spread.median_nearest_km), "to the nearest other photo (median)"),
    ]
    return facts_row(facts)


def _findings(inspection: Inspection, *, show_coordinates: bool) -> str:
    found = [*inspection.problems, *inspection.warnings]
    parts = ["<h2>What was found</h2>"]
    if found:
        shown = "".join(_finding(each, inspection, show_coordinates=show_coordinates) for each in found)
        parts.append(f'<div class="card">{shown}</div>')
    passed = [f"<li>{plain_text(each.title)}</li>" for each in inspection.findings if each.verdict == "passed"]
    skipped = [each for each in inspection.findings if each.verdict == "skipped"]
    passed += [f'<li class="skipped">{plain_text(each.title)}</li>' for each in skipped]
    note = "Looked for, and not found"
    if skipped:
        note += "; in grey: not looked for, because "
        reasons = ["no file was opened"] if inspection.files is None else []
        reasons += ["there are no two splits"] if len(set(inspection.rows["split"]) - {""}) < 2 else []
        note += " and ".join(reasons)
    parts.append(f'<h3>Passed <small>{note}.</small></h3><ul class="passed">{"".join(passed)}</ul>')
    return "\n".join(parts)


def _finding(finding: Finding, inspection: Inspection, *, show_coordinates: bool) -> str:
    regions = None if inspection.regions_file is None else cut_text(str(inspection.regions_file))
    mend = plain_text(finding.mend(cut_text(str(inspection.manifest)), regions))
    before, colon, command = mend.partition(": ")
    if colon and command.startswith("geomind "):
        mend = f"{before}: <code>{command}</code>"
    examples = []
    for number, row in enumerate(finding.rows[:EXAMPLES].tolist()):
        said = [f"<bdi>{name_text(inspection.rows['image_path'].iloc[row])}</bdi>"]
        if number < len(finding.notes):
            said.append(plain_text(cut_text(finding.notes[number], 2 * LONGEST_NAME)))
        if show_coordinates:
            said.append("{:.6f}, {:.6f}".format(*inspection.points[row]))
        examples.append(f"<li>{' · '.join(said)}</li>")
    named = f"{EXAMPLES} of " if len(finding.rows) > EXAMPLES else ""
    summary = f"<summary>{named}{counted(len(finding.rows), 'photo')}</summary>"
    shown = f"<details>{summary}<ul>{''.join(examples)}</ul></details>"
    tag = f'<span class="tag {finding.verdict}">{finding.verdict}</span>'
    return (
        f'<div class="finding"><h3>{tag}{plain_text(finding.title)}</h3><p>{plain_text(finding.detail)}</p>'
        f'<p class="mend">{mend}</p>{shown if examples else ""}</div>'
    )


def _regions(inspection: Inspection) -> str:
    regions = inspection.balance.regions
    largest = max(region.photos for region in regions) or 1
    table = html_table(
        [">id", "region", "", ">photos", ">share", ">effective", ">countries", ">places"],
        [
            [
                str(region.id),
                name_text(region.name),
                share_bar(region.photos / largest),
                f"{region.photos:,}",
                percent(region.share),
                f"{region.effective_photos:,.0f}",
                f"{region.countries:,}",
                f"{region.blocks:,}",
            ]
            for region in regions
        ],
    )
    return (
        f"<h2>Regions</h2>{card(table)}"
        f'<p class="note">Effective: photos with diminishing returns, (1 − {COVERAGE}ⁿ) / (1 − {COVERAGE}) (Cui et al. '
        f"2019). Places: h3 blocks of {inspection.spread.block_side_km:.0f} km a side.</p>"
    )


def _spread(inspection: Inspection) -> str:
    spread = inspection.spread
    odd = np.zeros(len(inspection.rows), dtype=bool)
    for finding in inspection.findings:
        if finding.check in _ODD:
            odd[finding.rows] = True
    sizes = svg_charts.dot_sizes(len(inspection.rows))
    legend = [(chart_sample("dot", 12, diameter), f"{least:,}+") for least, diameter in sizes]
    if odd.any():
        legend.append((chart_sample("odd", 12, 6), "odd position"))
    world = svg_charts.places_map(inspection.points, odd)
    nearest = svg_charts.distance_histogram(
        spread.nearest_km, label="Distance from each photo to the nearest other one, share of the photos"
    )
    return (
        f"<h2>Spread</h2>{card(world + chart_legend(legend, 'photos a dot:'))}"
        f"<h3>To the nearest other photo <small>median {km_text(spread.median_nearest_km)}; 0 is the same position"
        f"</small></h3>{card(nearest)}"
        f'<p class="note">The {TOP_BLOCKS} largest of {spread.occupied:,} places hold {percent(spread.top_share)} of '
        "the photos.</p>"
    )


def _splits(inspection: Inspection) -> str:
    counts = inspection.counts("split")
    if not set(counts) - {""}:
        return ""
    held_out = {part.name: part for part in inspection.held_out}
    rows = []
    for name in sorted(counts, key=lambda name: (name == "", name != "train", name))[:MOST_ROWS]:
        cells = [name_text(name) or "no split", f"{counts[name]:,}", percent(counts[name] / len(inspection.rows))]
        part = held_out.get(name)
        cells += [km_text(part.least_km), km_text(part.median_km)] if part else ["", ""]
        cells += [percent(part.share_within(limit)) if part else "" for limit in NEAR_KM]
        rows.append(cells)
    within = [f">within {limit:g} km" for limit in NEAR_KM]
    table = html_table(["split", ">photos", ">share", ">nearest training photo", ">median", *within], rows)
    parts = [f"<h2>Splits</h2>{card(table)}"]
    if shown := inspection.held_out[: svg_charts.CURVES]:
        label = "Share of the held-out photos with a training photo within a distance"
        curves = {part.name: part.nearest_km for part in shown}
        chart = svg_charts.distance_curves(curves, label=label, marks_km=NEAR_KM)
        legend = [(chart_sample(f"curve curve-{number}", 16), name_text(name)) for number, name in enumerate(curves)]
        parts.append(f"<h3>{label}</h3>{card(chart + chart_legend(legend))}")
        parts.append('<p class="note">A curve high on the left flatters: the test is near what was learned.</p>')
    return "\n".join(parts)


def _confusions(hard: HardExamples) -> str:
    wrong, rest = len(hard.rows), len(hard.pairs) - MOST_ROWS
    share = percent(wrong / max(hard.answered, 1))
    parts = [f"<p>{wrong:,} of {hard.answered:,} answered photos were given a wrong region ({share}).</p>"]
    if wrong:
        rows = [
            [
                name_text(pair.tag),
                share_bar(pair.photos / hard.pairs[0].photos),
                f"{pair.photos:,}",
                percent(pair.share),
                km_text(pair.median_km),
            ]
            for pair in hard.pairs[:MOST_ROWS]
        ]
        parts.append(html_table(["true region → answered", "", ">photos", ">of the region", ">median off"], rows))
    more = f'<p class="note">{rest:,} rarer pairs are not shown.</p>' if rest > 0 else ""
    return f"<h2>What the Director confuses</h2>{card(''.join(parts))}{more}"


def _origins(inspection: Inspection) -> str:
    names = places.countries()
    countries = {
        (f"{names[code].name} ({code})" if code in names else code or "the high seas, or not given"): count
        for code, count in inspection.counts("country").items()
    }
    sources = {name or "not given": count for name, count in inspection.counts("source").items()}
    tables = (
        f"<div><h2>{title}</h2>{card(_count_table(counts, len(inspection.rows)))}</div>"
        for title, counts in (("Countries", countries), ("Sources", sources))
    )
    return f'<div class="pair">{"".join(tables)}</div>'


def _count_table(counts: Mapping[str, int], total: int) -> str:
    largest = max(counts.values())
    rows = [
        [name_text(name), share_bar(count / largest), f"{count:,}", percent(count / total)]
        for name, count in list(counts.items())[:MOST_ROWS]
    ]
    if rest := list(counts.values())[MOST_ROWS:]:
        rows.append([f"{len(rest):,} more", "", f"{sum(rest):,}", percent(sum(rest) / total)])
    return html_table(["", "", ">photos", ">share"], rows)


# ── the contact sheet ────────────────────────────────────────────────────────────────────────────────────────────────


def _contact_sheet(inspection: Inspection, *, seed: int, progress: Progress) -> str:
    """Show some photos of each region, drawn by lot among those that can be read."""
    if inspection.files is None:
        return ""
    chosen = _chosen(inspection, seed)
    rows = [row for part in chosen.values() for row in part]
    paths = [photo_path(inspection.manifest, inspection.rows["image_path"].iloc[row]) for row in rows]
    urls = thumbnail_urls(paths, THUMBNAIL_SIZE, most_bytes=THUMBNAIL_BYTES, what="Contact sheet", progress=progress)
    thumbnails = dict(zip(rows, urls, strict=True))
    parts = ["<h2>Contact sheet</h2>"]
    for region_id, here in chosen.items():
        images = "".join(
            f'<img loading="lazy" alt="" title="{name_text(inspection.rows["image_path"].iloc[row])}" '
            f'src="{thumbnails[row]}">'
            for row in here
            if thumbnails[row]
        )
        region = inspection.balance.regions[region_id]
        small = f"<small>{len(here):,} of {region.photos:,}, drawn by lot</small>"
        parts.append(f'<h3>{name_text(region.name)} {small}</h3><div class="sheet">{images}</div>')
    return "\n".join(parts)


def _chosen(inspection: Inspection, seed: int) -> dict[int, list[int]]:
    """Draw rows of readable photos by lot: region id -> rows."""
    assert inspection.files is not None
    readable = np.flatnonzero(inspection.files.readable)
    shuffled = np.random.default_rng(seed).permutation(readable)
    ids = inspection.region_ids[shuffled]
    occupied = [region_id for region_id in np.unique(ids).tolist() if region_id >= 0][:MOST_THUMBNAILS]
    each = min(THUMBNAILS_A_REGION, MOST_THUMBNAILS // max(len(occupied), 1))
    return {region_id: shuffled[ids == region_id][:each].tolist() for region_id in occupied}
