"""The HTML page of an evaluation: one file that asks nothing of any network, in light and in dark. It judges nothing.

The page has pages inside: one of the whole and one for each region, reached by a link (`#region-5`), without a script.
Its size is bounded whatever the number of photos: thumbnails, lines on maps and pages of regions are counted, and names
are cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.evaluation import plots, svg_charts
from geomind.evaluation.gallery import Extremes, choose_extremes, photo_figures, photo_sections
from geomind.evaluation.html_page import (
    card,
    chart_legend,
    chart_sample,
    facts_row,
    html_table,
    km_text,
    name_text,
    plain_text,
    share_bar,
    write_page,
)
from geomind.evaluation.scoring import Evaluation, RegionMetrics
from geomind.evaluation.sureness import IDEAL, Held, Sureness, sureness
from geomind.files import refuse_existing
from geomind.geography.regions import NO_REGION
from geomind.geography.sphere import Points
from geomind.metrics import THRESHOLDS_KM, Metrics
from geomind.progress import SILENT, Progress

Rows = NDArray[np.int64]
"""(n,) numbers of photos, in the order of the evaluation."""

MOST_LINES_A_REGION = 200
"""The map of a region draws so many of its photos, that of all ``plots.MOST_LINES``; chosen by lot."""

MOST_PAGES = 60
"""The regions with the most photos have a page of their own; the table has all."""

MOST_IN_MATRIX = 40
"""The matrix has the regions with the most photos; others are summed up."""

MOST_GROUPS = 30
"""Values of a column that the page shows, the most frequent first."""

MOST_ROWS = 10
"""Rows of the tables of a region, and of errors."""

LABELS: Mapping[str, tuple[str, str]] = {
    "count": ("Photos", "number"),
    "answered": ("Answered", "number"),
    "median_km": ("Median distance", "km"),
    "mean_km": ("Mean distance of the answered", "km"),
    "geoscore": ("GeoScore, of 5,000", "number"),
    **{f"within_{threshold}_km": (f"Within {threshold:,} km", "share") for threshold in THRESHOLDS_KM},
    "router_accuracy": ("Right region (Director)", "share"),
    "oracle_median_km": ("Median with the true region given (Experts)", "km"),
    "region_median_floor_km": ("Median of answering the true region's middle", "km"),
    "country_accuracy": ("Place in the right country", "share"),
    "region_accuracy": ("Place in the right region", "share"),
    "city_accuracy": ("Place nearest to the right town", "share"),
    "router_weighted_f1": ("F1 of the regions, weighted by photos", "fraction"),
    "router_macro_f1": ("F1 of the regions, each the same", "fraction"),
    "coverage_50": ("Truths within the 50% radius", "share"),
    "coverage_90": ("Truths within the 90% radius", "share"),
    "mean_radius_km_90": ("Mean 90% radius", "km"),
    "global_radius_km_90": ("One 90% radius for all photos", "km"),
    "ece": ("Expected calibration error of the Director", "fraction"),
    "brier": ("Brier score of the Director", "fraction"),
    "confidence_ece": ("Expected calibration error of the confidence", "fraction"),
    "with_radius": ("Photos with a 90% radius", "number"),
    **{
        f"{key}_{which}": (f"{label}, {which.replace('_', ' ')}", unit)
        for which in ("region_right", "region_wrong")
        for key, label, unit in (
            ("coverage_50", "Truths within the 50% radius", "share"),
            ("coverage_90", "Truths within the 90% radius", "share"),
            ("mean_radius_km_90", "Mean 90% radius", "km"),
        )
    },
    "risk_coverage_area_km": ("Area under risk and coverage", "km"),
    "risk_coverage_best_km": ("The same, if it knew its errors", "km"),
    "median_km_surest_70": ("Median distance of the surest 70%", "km"),
    "abstained": ("Abstaining", "number"),
    "kept_median_km": ("Median distance of the others", "km"),
    "kept_mean_km": ("Mean distance of the others", "km"),
    "kept_geoscore": ("GeoScore of the others", "number"),
    **{f"kept_within_{each}_km": (f"Others within {each:,} km", "share") for each in THRESHOLDS_KM},
    "log_loss": ("Log loss of the candidates, nats per km²", "plain"),
    "kernel_km": ("Width of its kernels", "km"),
}
"""Key of ``Evaluation.flat`` -> what it is called, and its unit; a key that is not here goes by its own name."""

LOW, HIGH = "_low", "_high"
"""The endings of the keys of an interval, beside the key that it is of."""


def write_report(
    evaluation: Evaluation,
    path: Path | str,
    *,
    title: str,
    images_dir: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Write an evaluation as one HTML file.

    Args:
        evaluation: What was measured.
        path: The file.
        title: What was evaluated.
        images_dir: The folder that the predictions name photos in; without it, or where a photo is not there, the
            manifest says where it is.
        overwrite: Replace an existing file.
        progress: Shows the thumbnails made.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    largest_first = sorted(evaluation.regions, key=lambda each: -each.metrics.count)[:MOST_PAGES]
    paged = [each for each in evaluation.regions if each in largest_first]
    extremes = choose_extremes(evaluation, paged)
    gallery = photo_figures(evaluation, extremes, images_dir, progress)
    sure = sureness(evaluation)
    overview = [
        _facts(evaluation.metrics, _held_by(sure, None)),
        _notes(evaluation),
        _scores(evaluation.flat()),
        _distances(evaluation),
        _sureness(sure),
        _world(evaluation),
        _matrix(evaluation, paged),
        _regions(evaluation, paged),
        _groups(evaluation),
        _failures(evaluation),
        photo_sections(gallery, extremes[None]),
    ]
    pages = [_region_page(evaluation, paged, number, sure, gallery, extremes) for number in range(len(paged))]
    write_page(
        path,
        brand="evaluation",
        title=title,
        body=f'{svg_charts.world_symbol()}\n<section class="overview" id="overview">\n'
        + "\n".join(section for section in overview if section)
        + "\n</section>\n"
        + "\n".join(pages),
        footer="Distances are along the great circle, on a sphere of radius 6,371.0088 km.",
        style="report.css",
    )


# ── sections of the whole ────────────────────────────────────────────────────────────────────────────────────────────


def _facts(metrics: Metrics, held: Held | None) -> str:
    facts = [
        (f"{metrics.geoscore:,.0f}", "GeoScore of 5,000"),
        (km_text(metrics.median_km), "median distance"),
        *(
            (f"{getattr(metrics, f'within_{limit}_km'):.1%}", f"within {limit:,} km")
            for limit in THRESHOLDS_KM
            if limit in (25, 200, 750)
        ),
    ]
    if metrics.router_accuracy is not None:
        facts.append((f"{metrics.router_accuracy:.1%}", "right region (Director)"))
    if held is not None:
        facts.append((f"{held.radii.coverage_90:.1%}", "within their 90% radius"))
    return facts_row(facts)


def _notes(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    said = [f"{metrics.count:,} photo{'' if metrics.count == 1 else 's'}, {metrics.answered:,} with an answer."]
    return f'<p class="note lead">{plain_text(" ".join([*said, *evaluation.notes]))}</p>'


def _held_by(sure: Sureness, region_id: int | None) -> Held | None:
    """Find what the radii of a region hold, or, for ``None``, of all photos."""
    return next((each for each in sure.held if each.region_id == region_id), None)


def _scores(flat: Mapping[str, object]) -> str:
    rows = [[label, *cells] for label, cells in _score_rows(flat)]
    half = (len(rows) + 1) // 2
    heads = ["score", ">", ">95% interval"] if len(rows[0]) == 3 else ["score", ">"]
    tables = "".join(card(html_table(heads, part)) for part in (rows[:half], rows[half:]) if part)
    return f'<h2>Scores</h2><div class="pair">{tables}</div>'


def _score_rows(flat: Mapping[str, object]) -> list[tuple[str, list[str]]]:
    """Give the scores in their own order: name, value and, where any has one, interval, as HTML.

    What was not measured is left out; a median that is infinite, because half of the photos have no answer, is not.
    """
    ends = {key.removesuffix(LOW) for key in flat if key.endswith(LOW)} & set(flat)
    rows = []
    for key, value in flat.items():
        if key.endswith((LOW, HIGH)) and key.removesuffix(LOW).removesuffix(HIGH) in ends:
            continue
        if value is None and key != "median_km":
            continue
        label, unit = LABELS.get(key, (key, "km" if key.endswith("_km") else "plain"))
        cells = [_value(value, unit)]
        if ends:
            interval = f"{_value(flat[key + LOW], unit)} – {_value(flat.get(key + HIGH), unit)}" if key in ends else ""
            cells.append(interval)
        rows.append((plain_text(label), cells))
    return rows


def _value(value: object, unit: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, str) or not isinstance(value, int | float):
        return name_text(str(value))
    written = {"km": km_text(value), "share": f"{value:.1%}", "number": f"{value:,.0f}", "fraction": f"{value:.3f}"}
    return written.get(unit, f"{value:,}" if isinstance(value, int) else f"{value:,.4g}")


def _distances(evaluation: Evaluation) -> str:
    distance = evaluation.distance_km
    curves = {"end to end": distance, "true region's middle": evaluation.floor_km}
    if evaluation.oracle_km is not None:
        curves["true region given"] = evaluation.oracle_km
    label = "Share of the photos within a distance of the truth"
    chart = svg_charts.distance_curves(curves, label=label, marks_km=THRESHOLDS_KM, least_km=0.5, frame=svg_charts.HALF)
    legend = [(_curve(number), name) for number, name in enumerate(curves)]
    marks = f"dashed: {', '.join(f'{limit:,}' for limit in THRESHOLDS_KM)} km"
    parts = dict(curves)
    if (evaluation.predicted_regions != NO_REGION).any():
        right = evaluation.predicted_regions == evaluation.true_regions
        parts |= {"end to end, right region": distance[right], "end to end, wrong region": distance[~right]}
    medians = {name: float(np.median(each)) for name, each in parts.items() if len(each)}
    most = max((median for median in medians.values() if np.isfinite(median)), default=0.0) or 1.0
    rows = [
        [name, share_bar(min(median / most, 1.0)), f"{len(parts[name]):,}", km_text(median)]
        for name, median in medians.items()
    ]
    loses = html_table(["answers", "", ">photos", ">median"], rows)
    return (
        '<h2>How far off</h2><div class="pair">'
        f"<div><h3>{label} <small>{marks}</small></h3>{card(chart + chart_legend(legend))}</div>"
        f"<div><h3>Where the error comes from</h3>{card(loses)}"
        '<p class="note">True region given: what the Experts alone would do. Its middle: the median place of the true '
        "region, without a look at the photo.</p></div></div>"
    )


def _sureness(sure: Sureness) -> str:
    parts = ["<h2>Does it know when it does not know?</h2>"]
    parts += [f'<p class="note">{plain_text(" ".join(sure.lacking))}</p>'] * bool(sure.lacking)
    charts = []
    if sure.reliabilities:
        chart = svg_charts.agreement_chart(
            {name: (each.confidence, each.accuracy, each.count) for name, each in sure.reliabilities.items()},
            label="How often answers are right, by the probability they give themselves",
            across="probability given",
            up="share that was so",
        )
        legend = [
            (_curve(number), f"{name}: expected calibration error {each.ece:.3f}")
            for number, (name, each) in enumerate(sure.reliabilities.items())
        ]
        charts.append(("Calibration <small>larger dots are more answers</small>", chart, legend))
    if sure.risks:
        chart = svg_charts.falling_chart(
            sure.curves,
            label="Median distance where only the surest answers are given",
            across="share of the answers that are given, the surest first",
            up="median distance, km",
            dashed=(IDEAL,),
        )
        legend = [
            (_curve(number), f"by {name}: {km_text(each.area_km)} on average")
            for number, (name, each) in enumerate(sure.risks.items())
        ]
        if sure.ideal is not None:
            legend.append((chart_sample("curve ideal", 16), f"{IDEAL}: {km_text(sure.ideal.area_km)}"))
        charts.append(("Answering only the surest <small>risk–coverage</small>", chart, legend))
    columns = (f"<div><h3>{title}</h3>{card(chart + chart_legend(legend))}</div>" for title, chart, legend in charts)
    parts.append(f'<div class="pair">{"".join(columns)}</div>')
    if sure.held:
        parts.append(f"<h3>What the radii hold <small>lines: what they promise</small></h3>{_held(sure.held)}")
    return "\n".join(parts)


def _held(held: Iterable[Held]) -> str:
    rows = []
    for each in held:
        shares = (each.radii.coverage_50, each.radii.coverage_90)
        rows.append(
            [
                name_text(each.name),
                f"{each.radii.count:,}",
                *(_value(share, "share") for share in shares),
                svg_charts.promise_strip(shares, (0.5, 0.9)),
                km_text(each.radii.mean_radius_km_90),
                km_text(each.radii.global_radius_km_90),
            ]
        )
    heads = ["truths within", ">photos", ">50% radius", ">90% radius", "", ">mean 90% radius", ">one for all"]
    return (
        card(html_table(heads, rows))
        + '<p class="note">One for all: the smallest radius, the same for all these photos, that holds 90%.</p>'
    )


def _world(evaluation: Evaluation) -> str:
    answered = np.flatnonzero(np.isfinite(evaluation.distance_km))
    chart, drawn = _map(evaluation, answered, plots.MOST_LINES, label="Map of where photos were taken and placed")
    return f"<h2>Truth and guess <small>{drawn}</small></h2>{card(chart + _map_legend(evaluation.distance_km))}"


def _map(evaluation: Evaluation, rows: Rows, most: int, *, label: str, view: Points | None = None) -> tuple[str, str]:
    """Draw answered photos on a map; give it, and how many of them are drawn."""
    drawn = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    chart = svg_charts.answers_map(
        evaluation.truth[drawn],
        evaluation.guesses[drawn],
        plots.error_band(evaluation.distance_km[drawn]),
        label=label,
        view=view,
    )
    return chart, (
        f"{len(drawn):,} of {len(rows):,} photos, by lot" if len(drawn) < len(rows) else f"{len(rows):,} photos"
    )


def _map_legend(distance_km: NDArray[np.float64]) -> str:
    bands, legend = plots.error_band(distance_km[np.isfinite(distance_km)]), [(chart_sample("truth", 12, 6), "truth")]
    for number, (_, limit) in enumerate(plots.BANDS):
        name = f"guess within {limit:,.0f} km" if np.isfinite(limit) else "farther"
        share = np.count_nonzero(bands == number) / len(distance_km)
        legend.append((chart_sample(f"guess band-{number}", 12, 8), f"{name} {share:.0%}"))
    return chart_legend(legend)


def _matrix(evaluation: Evaluation, paged: Sequence[RegionMetrics]) -> str:
    """Write which region photos of each region were taken for; a row adds up to 100%."""
    true, answered = evaluation.true_regions, evaluation.predicted_regions
    if not (answered != NO_REGION).any():
        return ""
    counts = Counter([*true.tolist(), *answered[answered != NO_REGION].tolist()])
    columns = sorted(region_id for region_id, _ in counts.most_common(MOST_IN_MATRIX))
    named = {
        region_id: f'<abbr title="{name_text(evaluation.table[region_id].name)}">{region_id}</abbr>'
        for region_id in columns
    }
    linked = {each.region_id for each in paged}
    heads = ["true region", ">photos", *(f">{head}" for head in named.values())]
    others, silent = ~np.isin(answered, [*columns, NO_REGION]), answered == NO_REGION
    heads += [">other"] * bool(others.any()) + [">none"] * bool(silent.any())
    rows = []
    for each in evaluation.regions:
        if each.region_id not in named:
            continue
        here = true == each.region_id
        shares = [np.mean(answered[here] == column) for column in columns]
        shares += [np.mean(others[here])] * bool(others.any()) + [np.mean(silent[here])] * bool(silent.any())
        cells = [
            _heat(float(share), own=column == each.region_id)
            for share, column in zip(shares, [*columns, -2, -2], strict=False)
        ]
        rows.append([_region_link(each, linked), f"{each.metrics.count:,}", *cells])
    right = float(np.mean(true == answered))
    left_out = len(evaluation.regions) - len(rows)
    more = f"; regions with fewer photos left out: {left_out:,}" if left_out else ""
    return (
        f"<h2>Which region was taken for which <small>{right:.1%} in the right one</small></h2>"
        f'<div class="matrix">{card(html_table(heads, rows))}</div>'
        f'<p class="note">% of the true region\'s photos, by the number of the region answered{more}.</p>'
    )


def _heat(share: float, *, own: bool) -> str:
    said = f"{100 * share:.0f}" if share >= 0.005 else ""
    return f'<i class="heat-{round(10 * share)}{" own" if own else ""}">{said}</i>'


def _regions(evaluation: Evaluation, paged: Sequence[RegionMetrics]) -> str:
    linked = {each.region_id for each in paged}
    columns = {
        "right region": ("router_accuracy", "share"),
        "precision": ("precision", "share"),
        "F1": ("f1", "fraction"),
        **_PART_COLUMNS,
    }
    rows = [(_region_link(each, linked), each.metrics, each.flat()) for each in evaluation.regions]
    said = "each has a page" if len(paged) == len(rows) else f"the largest have a page: {len(paged)} of {len(rows)}"
    return f"<h2>Regions <small>{said}</small></h2>{_parts_table('region', columns, rows)}"


def _groups(evaluation: Evaluation) -> str:
    """Write the scores of the photos of each value of the columns that were asked for."""
    parts = []
    columns = {"right country": ("country_accuracy", "share"), "right region": ("region_accuracy", "share")}
    for column, groups in evaluation.groups.items():
        rows = [(name_text(each.value) or "(empty)", each.metrics, each.flat()) for each in groups[:MOST_GROUPS]]
        said = f" <small>the {len(rows)} most frequent of {len(groups):,}</small>" if len(groups) > len(rows) else ""
        table = _parts_table(name_text(column), {**columns, **_PART_COLUMNS}, rows)
        parts.append(f"<h2>By {name_text(column)}{said}</h2>{table}")
    return "\n".join(parts)


_PART_COLUMNS = {
    "median": ("median_km", "km"),
    "true region given": ("oracle_median_km", "km"),
    "region's middle": ("region_median_floor_km", "km"),
    "in 90% radius": ("coverage_90", "share"),
    "mean 90% radius": ("mean_radius_km_90", "km"),
}
"""What the table of parts of the photos has: head -> key and unit."""


def _parts_table(
    what: str, columns: Mapping[str, tuple[str, str]], rows: Sequence[tuple[str, Metrics, Mapping[str, object]]]
) -> str:
    """Write a row for each part of the photos: name (HTML), scores. A column that none has is left out."""
    shown = {head: kind for head, kind in columns.items() if any(flat[kind[0]] is not None for _, _, flat in rows)}
    cells = [
        [
            name,
            f"{own.count:,}",
            f"{own.geoscore:,.0f}",
            *(_value(flat[key], unit) for key, unit in shown.values()),
        ]
        for name, own, flat in rows
    ]
    return card(html_table([what, ">photos", ">GeoScore", *(f">{head}" for head in shown)], cells))


def _region_link(region: RegionMetrics, linked: set[int]) -> str:
    name = f"{region.region_id} {name_text(region.region_name)}"
    return f'<a href="#region-{region.region_id}">{name}</a>' if region.region_id in linked else name


def _failures(evaluation: Evaluation) -> str:
    """Count why photos have no answer, or one that stands in for a better one."""
    errors = Counter(each.error for each in evaluation.predictions if each.error is not None)
    if not errors:
        return ""
    rows = [[name_text(error), f"{count:,}"] for error, count in errors.most_common(MOST_ROWS)]
    if rest := len(errors) - len(rows):
        rows.append(
            [f"{rest:,} other reasons", f"{sum(errors.values()) - sum(n for _, n in errors.most_common(MOST_ROWS)):,}"]
        )
    return f"<h2>What went wrong</h2>{card(html_table(['error', '>photos'], rows))}"


# ── the page of a region ─────────────────────────────────────────────────────────────────────────────────────────────


def _region_page(
    evaluation: Evaluation,
    paged: Sequence[RegionMetrics],
    number: int,
    sure: Sureness,
    gallery: Mapping[int, str],
    extremes: Mapping[int | None, Extremes],
) -> str:
    region = paged[number]
    here = evaluation.true_regions == region.region_id
    rows = np.flatnonzero(here & np.isfinite(evaluation.distance_km))
    name = name_text(region.region_name)
    parts = [
        f'<section class="page" id="region-{region.region_id}">',
        _navigation(paged, number),
        f"<h2>{region.region_id} {name}</h2>",
        _facts(region.metrics, _held_by(sure, region.region_id)),
    ]
    chart, drawn = _map(
        evaluation, rows, MOST_LINES_A_REGION, label=f"Map of {region.region_name}", view=evaluation.truth[here]
    )
    note = f"{drawn}; lines that leave the map lead to guesses elsewhere"
    legend = _map_legend(evaluation.distance_km[here])
    parts.append(f"<h2>Truth and guess <small>{note}</small></h2>{card(chart + legend)}")
    taken_for = Counter(evaluation.predicted_regions[here].tolist())
    mistaken = Counter(evaluation.true_regions[(evaluation.predicted_regions == region.region_id) & ~here].tolist())
    tables = [("What its photos were taken for", taken_for), (f"Whose photos were taken for {name}", mistaken)]
    columns = (
        f"<div><h2>{title}</h2>{card(_counts_table(evaluation, counts, paged))}</div>" for title, counts in tables
    )
    if set(taken_for) != {NO_REGION}:
        parts.append(f'<div class="pair">{"".join(columns)}</div>')
    own = dict(_score_rows(region.flat()))
    scores = [[label, own.get(label, ["–"])[0], cells[0]] for label, cells in _score_rows(evaluation.flat())]
    parts.append(photo_sections(gallery, extremes[region.region_id]))
    parts.append(f"<h2>Scores</h2>{card(html_table(['score', '>here', '>all photos'], scores))}")
    return "\n".join([*parts, "</section>"])


def _navigation(paged: Sequence[RegionMetrics], number: int) -> str:
    links = ['<a href="#overview">All regions</a>']
    if number > 0:
        links.append(
            f'<a href="#region-{paged[number - 1].region_id}">← {name_text(paged[number - 1].region_name)}</a>'
        )
    if number + 1 < len(paged):
        links.append(
            f'<a href="#region-{paged[number + 1].region_id}">{name_text(paged[number + 1].region_name)} →</a>'
        )
    return f"<nav>{''.join(links)}</nav>"


def _counts_table(evaluation: Evaluation, counts: Counter[int], paged: Sequence[RegionMetrics]) -> str:
    if not counts:
        return "<p>No other region's.</p>"
    by_id, linked = {each.region_id: each for each in evaluation.regions}, {each.region_id for each in paged}
    total = sum(counts.values())
    rows = []
    for region_id, count in counts.most_common(MOST_ROWS):
        if region_id == NO_REGION:
            name = "no region"
        elif region_id in by_id:
            name = _region_link(by_id[region_id], linked)
        else:
            name = f"{region_id} {name_text(evaluation.table[region_id].name)}"
        rows.append([name, share_bar(count / total), f"{count:,}", f"{count / total:.1%}"])
    if rest := total - sum(count for _, count in counts.most_common(MOST_ROWS)):
        rows.append(["others", share_bar(rest / total), f"{rest:,}", f"{rest / total:.1%}"])
    return html_table(["", "", ">photos", ">share"], rows)


def _curve(number: int) -> str:
    return chart_sample(f"curve curve-{number % svg_charts.CURVES}", 16)
