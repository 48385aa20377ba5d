"""Why a photo is placed where it is: what drove region and place, the runners-up, the training photos most like it.

It computes; ``explain_picture`` draws. What each map means is told in docs/explain.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geomind.baselines import load_regression_network
from geomind.cascade import Cascade
from geomind.checkpoints import (
    Description,
    director_path,
    expert_path,
    gallery_path,
    read_description,
    read_head,
)
from geomind.data.manifest import photo_path, read_manifest
from geomind.decoding import best_places
from geomind.director import load_director_network
from geomind.errors import CheckpointError, ConfigError, PhotoError
from geomind.expert import load_expert_network
from geomind.files import atomic_path, refuse_existing
from geomind.geography import places
from geomind.geography.boxes import Box
from geomind.geography.cell_code import CellCode
from geomind.geography.sphere import EARTH_RADIUS_KM, KM_PER_DEGREE, Points, haversine_km, km_per_degree_east
from geomind.geolocators import Answering, check_models, load_geolocator, weights_of
from geomind.heads import PlaceHead
from geomind.hierarchical import load_hierarchical_network
from geomind.photos import Preprocessing
from geomind.predictions import Prediction, name_places
from geomind.retrieval import Gallery, unit_rows
from geomind.runtimes import pick_runtime

if TYPE_CHECKING:
    from geomind.evaluation.gradcam import Look, Map
    from geomind.networks import WithFeatures

SAME_PLACE_KM = 0.001
"""A gallery has no paths: the photo of one of its rows is looked for among those of a manifest as near as this."""

MOST_AT_A_PLACE = 64
"""Photos of one place that a row is compared with; a place with more is a burst, and all look the same."""


NINTHS = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
"""The parts of a square in words, row by row."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where in a photo an answer comes from."""

    of: str
    """The answer, in words."""
    values: NDArray[np.float64]
    """(S, S) over the square that networks see: 1 where most comes from, 0 where nothing does."""
    positions: tuple[int, int]
    """Rows and columns that the image encoder tells apart."""

    @property
    def empty(self) -> bool:
        """Whether nothing in the photo speaks for the answer: it is less unlikely than the others, and no more."""
        return not self.values.any()

    @property
    def ninths(self) -> dict[str, float]:
        """How much of the heat lies in each ninth of the square, the most first; nothing where there is none."""
        if self.empty:
            return {}
        rows = [band.sum(axis=0) for band in np.array_split(self.values, 3, axis=0)]
        sums = [float(part.sum()) for row in rows for part in np.array_split(row, 3)]
        pairs = sorted(zip(NINTHS, sums, strict=True), key=lambda pair: -pair[1])
        return {name: part / sum(sums) for name, part in pairs}


@dataclass(frozen=True)
class Place:
    """A place that the photo may show."""

    latitude: float
    longitude: float
    name: str
    """Town and country, as far as there are any."""
    probability: float


@dataclass(frozen=True)
class Neighbour:
    """A training photo that looks like the photo to the image encoder."""

    latitude: float
    longitude: float
    name: str
    """Town and country, as far as there are any."""
    cosine: float
    """How much the two look alike, at most 1."""
    distance_km: float
    """From where the photo is placed."""
    photo: Path | None
    """The photo, where its file is known."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a photo is placed where it is."""

    photo: Path
    answer: Prediction
    preprocessing: Preprocessing
    """How the photo became the pixels that the networks saw."""
    level: str = ""
    """What ``choices`` are: `region` of a cascade, the first level of a hierarchical network, or nothing."""
    choices: tuple[tuple[str, float], ...] = ()
    """Each with its probability, the most probable first."""
    candidates: tuple[Place, ...] = ()
    choice_map: HeatMap | None = None
    place_map: HeatMap | None = None
    neighbours: tuple[Neighbour, ...] = ()
    notes: tuple[str, ...] = ()
    """What cannot be shown, and why."""

    @property
    def place_name(self) -> str:
        """Town and country of the answer, as far as there are any."""
        return _name(self.answer)

    def flat(self) -> dict[str, Any]:
        """Give what a program wants of it: plain values, without the maps' pixels."""
        answer = self.answer
        return {
            "photo": str(self.photo),
            "latitude": answer.latitude,
            "longitude": answer.longitude,
            "google_maps_url": answer.google_maps_url,
            "country": answer.country,
            "city": answer.city,
            "region_id": answer.region_id,
            "region_name": answer.region_name,
            "radius_km_50": answer.radius_km_50,
            "radius_km_90": answer.radius_km_90,
            "confidence": answer.confidence,
            "radius_note": answer.radius_note,
            "error": answer.error,
            "level": self.level,
            "choices": [{"name": name, "probability": round(share, 6)} for name, share in self.choices],
            "candidates": [vars(place) for place in self.candidates],
            "choice_heat": _heat_in_words(self.choice_map),
            "place_heat": _heat_in_words(self.place_map),
            "neighbours": [
                {**vars(each), "photo": None if each.photo is None else str(each.photo)} for each in self.neighbours
            ],
            "notes": list(self.notes),
        }


def explain(
    photo: Path | str,
    models: Path | str = "saved_models",
    *,
    candidates: int = 5,
    neighbours: int = 6,
    top_k: int = 1,
    data: Path | str | None = None,
) -> Explanation:
    """Answer for one photo as `geomind infer` does, and tell what the answer comes from.

    Args:
        photo: The photo.
        models: A folder of models: a cascade's, a hierarchical network's or a regression's.
        candidates: How many places to name.
        neighbours: How many training photos to look for, where there is a gallery.
        top_k: How many regions' Experts are asked; 1 is hard routing.
        data: The manifest of the training photos, to find the neighbours' files by.

    Raises:
        CheckpointError: there are no models, or they are broken or do not fit each other.
        ConfigError: one network is asked for what only a cascade does.
        ManifestError: the manifest cannot be read.
        MissingExtraError: torch is not installed.
        PhotoError: the photo cannot be read.
    """
    pick_runtime("torch")
    photo, models = Path(photo), Path(models)
    description = check_models(models)
    pixels = _read(description.preprocessing, photo)
    manifest = None if data is None else _TrainingPhotos(data)
    one_place = description.kind == "regression"
    how = Answering(runtime="torch", top_k=top_k, candidates=0 if one_place else candidates)
    geolocator = load_geolocator(models, how)
    answer = geolocator.locate(pixels[None], [str(photo)])[0]
    bare = Explanation(photo, answer, description.preprocessing, candidates=_candidates(answer))
    cascade = geolocator.geolocator
    if not isinstance(cascade, Cascade):
        return _of_one_network(bare, pixels, weights_of(models)[0], description)
    choices = _ranked(cascade.regions.names, cascade.region_probabilities(pixels[None])[0].mean(axis=0))
    told = _of_cascade(replace(bare, level="region", choices=choices), pixels, models, description)
    return _with_neighbours(told, pixels, models, description, neighbours, manifest) if neighbours else told


def write_explanation(explanation: Explanation, path: Path | str, *, overwrite: bool = False) -> None:
    """Write what a program wants of an explanation as JSON.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(explanation.flat(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# ── whom it asks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_cascade(told: Explanation, pixels: NDArray[np.float32], models: Path, director: Description) -> Explanation:
    """Tell what drove the Director to the region of the answer, and its Expert to the place."""
    assert told.answer.region_id is not None
    region, weights = director.regions[told.answer.region_id], director_path(models)
    look, notes = _look(weights, load_director_network, pixels)
    region_map = place_map = None
    if look is not None:
        row = read_head(weights)[0][region.id]
        region_map = _heat_map(region.name, np.maximum(look.contributions(row), 0), told.preprocessing)
    expert = expert_path(models, region)
    if not expert.is_file():
        notes += (
            f"No Expert for region {region.id} '{region.name}': the place is the region's median, and no part of the "
            f"photo drove it. Train it with `geomind train-expert --region {region.id}`.",
        )
    else:
        if read_description(expert).trunk is None:
            look, more = _look(expert, load_expert_network, pixels)
            notes += more
        if look is not None:
            contributions = _place_contributions(look, expert, "expert")
            place_map = _heat_map(told.place_name, contributions, told.preprocessing)
    return _with_maps(told, region_map, place_map, notes)


def _of_one_network(
    told: Explanation, pixels: NDArray[np.float32], weights: Path, description: Description
) -> Explanation:
    """Tell what drove a hierarchical network, or a regression."""
    if description.kind == "regression":
        look, notes = _look(weights, load_regression_network, pixels)
        notes += ("A regression chooses no region and knows one place: there is nothing that came close.",)
        level, choices, choice_map = "", told.choices, None
    else:
        look, notes = _look(weights, load_hierarchical_network, pixels)
        level, choices, choice_map = _coarsest_cell(told, look, weights, description)
    place_map = None
    if look is not None:
        contributions = _place_contributions(look, weights, description.kind)
        place_map = _heat_map(told.place_name, contributions, told.preprocessing)
    return _with_maps(replace(told, level=level, choices=choices), choice_map, place_map, notes)


def _coarsest_cell(
    told: Explanation, look: Look | None, weights: Path, description: Description
) -> tuple[str, tuple[tuple[str, float], ...], HeatMap | None]:
    """Say of the first level of a hierarchical network its name, its cells, and what drove the one of the answer."""
    code = description.cell_code
    level = code.tree.levels[0]
    if look is None:
        return level.name, (), None
    head, features = PlaceHead.load(weights, "hierarchical"), look.features[None]
    shares = code.probabilities(head.outputs(features))
    cell = int(code.tree.chains[best_places(head.guess(features))[1][0], 0])
    names = [name or str(number) for number, name in enumerate(level.names)]
    direction = _cell_direction(code, shares[0], 0, cell) @ read_head(weights)[0]
    heat = _heat_map(names[cell], np.maximum(look.contributions(direction), 0), told.preprocessing)
    return level.name, _ranked(names, code.of_level(shares, 0)[0]), heat


def _look(
    weights: Path, build: Callable[[Path], WithFeatures], pixels: NDArray[np.float32]
) -> tuple[Look | None, tuple[str, ...]]:
    """Look at the photo through the encoder of some weights; or say why there can be no map of it."""
    from geomind.evaluation.gradcam import Look

    try:
        return Look(build(weights).network.backbone, pixels), ()
    except ConfigError as error:
        return None, (f"No map of {weights.name}: {error}",)


def _heat_map(of: str, contributions: Map, preprocessing: Preprocessing) -> HeatMap:
    """Scale what positions add to an answer to its highest, none below 0, and lay it over the square."""
    from geomind.evaluation.gradcam import enlarged

    highest = contributions.max()
    scaled = contributions / highest if highest > 0 else np.zeros(contributions.shape)
    return HeatMap(of, enlarged(scaled, preprocessing.image_size), contributions.shape)


def _with_maps(
    told: Explanation, choice_map: HeatMap | None, place_map: HeatMap | None, notes: tuple[str, ...]
) -> Explanation:
    empty = [
        f"Nothing in the photo speaks for {heat.of}: what the network saw speaks against it, and as a rule more so "
        "against others. Its map is empty."
        for heat in (choice_map, place_map)
        if heat is not None and heat.empty
    ]
    return replace(told, choice_map=choice_map, place_map=place_map, notes=(*told.notes, *notes, *empty))


# ── what drove a place ───────────────────────────────────────────────────────────────────────────────────────────────


def _place_contributions(look: Look, weights: Path, kind: str) -> Map:
    """Tell how much each position has to do with a place: (rows, columns), none below 0.

    Of cells, what speaks for the chosen one, as for a class. A place in a box or on the globe is no class: further
    north is no better than further south, and a ReLU would keep the north alone. So it is how far, in km, a position
    moves the answer from where the biases alone put it, in whatever direction: the length of what it adds to north and
    east, as straight as the Earth is flat there. Without a ReLU, the map of one output is the regression activation map
    of Wang & Yang 2017 ("Diabetic Retinopathy Detection via Deep Convolutional Networks for Discriminative Localization
    and Visual Explanation"); here there are two outputs, made one by the distance on the sphere.
    """
    matrix, bias = read_head(weights)
    description = read_description(weights, kind)
    if description.cells is not None:
        head = PlaceHead(matrix, bias, description, weights)
        code, features = description.cell_code, look.features[None]
        best = int(best_places(head.guess(features))[1][0])
        shares = code.probabilities(head.outputs(features))[0]
        direction = _cell_direction(code, shares, len(code.sizes) - 1, int(code.tree.chains[best, -1])) @ matrix
        return np.maximum(look.contributions(direction), 0)
    outputs = look.features.astype(np.float64) @ matrix.T + bias
    moves = np.stack([look.contributions(row) for row in matrix])
    if description.box is not None:
        km = _km_per_logit(outputs, description.fitted_box)
    else:
        length = np.linalg.norm(outputs)
        upward = outputs / length
        moves = moves - upward[:, None, None] * np.tensordot(upward, moves, axes=1)  # what only lengthens it moves none
        km = np.full(3, EARTH_RADIUS_KM / length)
    lengths: Map = np.linalg.norm(moves * km[:, None, None], axis=0)
    return lengths


def _km_per_logit(outputs: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Say how far a place moves in a box, north and east, as each logit grows: (2,) -> (2,) km."""
    square = (1 + np.tanh(outputs / 2)) / 2
    latitude = box.denormalize(square)[0]
    sides = np.array([box.lat_max - box.lat_min, box.lon_max - box.lon_min])
    small = np.exp(-np.abs(outputs))  # at the edge of a box y (1 - y) is 0 to the last bit, and this is not
    slope = small / (1 + small) ** 2 * sides  # degrees; the sigmoid's derivative
    km: NDArray[np.float64] = slope * np.array([KM_PER_DEGREE, float(km_per_degree_east(latitude))])
    return km


def _cell_direction(code: CellCode, shares: NDArray[np.float64], level: int, cell: int) -> NDArray[np.float64]:
    """Say how the logit of a cell grows with a network's outputs: (finest cells,) probabilities -> (outputs,).

    ``CellCode.probabilities`` makes a finest cell as probable as the softmax of the sum of the logits along its chain:
    what the levels' own softmaxes divide by is the same for all cells. So that sum is the finest cell's logit. A coarse
    cell is as probable as its finest ones together, so that its logit is the logarithm of the sum of their
    exponentials, whose gradient weighs them by their probabilities.
    """
    inside = np.flatnonzero(code.tree.chains[:, level] == cell)
    total = shares[inside].sum()
    weights = shares[inside] / total if total > 0 else np.full(len(inside), 1 / len(inside))
    direction, first = np.zeros(code.outputs), 0
    for number, size in enumerate(code.sizes):
        np.add.at(direction, first + code.tree.chains[inside, number], weights)
        first += size
    return direction


# ── training photos that look like it ────────────────────────────────────────────────────────────────────────────────


class _TrainingPhotos:
    """The photos of a manifest, by where they were taken."""

    def __init__(self, manifest: Path | str) -> None:
        frame = read_manifest(manifest)
        self._points = frame[["latitude", "longitude"]].to_numpy(dtype=np.float64)
        self._paths = [photo_path(manifest, name) for name in frame["image_path"]]

    def at(self, place: NDArray[np.float64]) -> list[Path]:
        """List the files at a place that are there."""
        near = np.flatnonzero(haversine_km(self._points, place) <= SAME_PLACE_KM)
        return [path for row in near[:MOST_AT_A_PLACE].tolist() if (path := self._paths[row]).is_file()]


def _with_neighbours(
    told: Explanation,
    pixels: NDArray[np.float32],
    models: Path,
    director: Description,
    count: int,
    manifest: _TrainingPhotos | None,
) -> Explanation:
    """Find the training photos of the answer's region that look most like the photo.

    The gallery is that of the region's Expert, or where it has none, the Director's.
    """
    from geomind.runtimes.with_torch import TorchNetwork

    assert told.answer.region_id is not None
    assert told.answer.place is not None
    region = director.regions[told.answer.region_id]
    weights, path = expert_path(models, region), gallery_path(models, region)
    build = load_expert_network
    if not path.is_file():
        weights, path, build = director_path(models), gallery_path(models), load_director_network
    if not path.is_file():
        if manifest is None:
            return told
        lacking = f"No gallery in {models}: make it with `geomind train-expert --region all --gallery`."
        return replace(told, notes=(*told.notes, lacking))
    try:
        gallery = Gallery.load(path, weights)
    except CheckpointError as error:  # the answer needs no gallery, and stands without
        return replace(told, notes=(*told.notes, str(error)))
    network = TorchNetwork(build(weights))
    rows, cosines = (each[0] for each in gallery.search(network(pixels[None])[1], count, gallery.rows_of(region.id)))
    if not len(rows):
        return replace(told, notes=(*told.notes, f"The gallery {path} has no photo of {region.name}."))
    points = np.asarray(gallery.places[rows])
    files: list[Path | None] = [None] * len(rows)
    notes = told.notes
    if manifest is not None:
        read = partial(_features, network, told.preprocessing)
        files = [
            _most_alike(gallery.embeddings[row], manifest.at(point), read)
            for row, point in zip(rows, points, strict=True)
        ]
        if lost := files.count(None):
            notes += (f"{lost} of the {len(files)} nearest training photos are not where the manifest says.",)
    distances = haversine_km(points, np.array(told.answer.place))
    found = tuple(
        Neighbour(float(latitude), float(longitude), name, float(cosine), float(km), file)
        for (latitude, longitude), name, cosine, km, file in zip(
            points, _names(points), cosines, distances, files, strict=True
        )
    )
    return replace(told, neighbours=found, notes=notes)


def _most_alike(
    embedding: NDArray[np.float16], files: Sequence[Path], read: Callable[[Path], NDArray[np.float32] | None]
) -> Path | None:
    """Choose the file that a row of a gallery was made of, among those of its place."""
    if len(files) <= 1:
        return files[0] if files else None
    alike = [
        -np.inf if (features := read(file)) is None else float(unit_rows(features)[0] @ embedding.astype(np.float32))
        for file in files
    ]
    return files[int(np.argmax(alike))]


def _features(
    network: Callable[[NDArray[np.float32]], tuple[Any, NDArray[np.float32]]], preprocessing: Preprocessing, file: Path
) -> NDArray[np.float32] | None:
    try:
        return network(preprocessing.read(file)[None])[1]
    except PhotoError:
        return None


# ── words and pixels ─────────────────────────────────────────────────────────────────────────────────────────────────


def _read(preprocessing: Preprocessing, photo: Path) -> NDArray[np.float32]:
    """Read a photo as `geomind infer` does.

    Raises:
        PhotoError: it cannot be read; the message names it.
    """
    try:
        return preprocessing.read(photo)
    except PhotoError as error:
        raise PhotoError(f"Cannot read the photo {photo}: {error}. Name another one.") from error


def _heat_in_words(heat: HeatMap | None) -> dict[str, float] | None:
    return None if heat is None else {name: round(share, 4) for name, share in heat.ninths.items()}


def _ranked(names: Sequence[str], probabilities: Iterable[float]) -> tuple[tuple[str, float], ...]:
    pairs = [(name, float(share)) for name, share in zip(names, probabilities, strict=True)]
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def _candidates(answer: Prediction) -> tuple[Place, ...]:
    """Read the places that an answer names."""
    rows = json.loads(answer.candidates or "[]")
    names = _names(np.array([(row["latitude"], row["longitude"]) for row in rows]).reshape(-1, 2))
    return tuple(
        Place(row["latitude"], row["longitude"], name, row["probability"])
        for row, name in zip(rows, names, strict=True)
    )


def _names(points: Points) -> list[str]:
    """Name the town and the country of places: (n, 2) degrees -> n names."""
    asked = [
        Prediction(image_path="a place", latitude=latitude, longitude=longitude)
        for latitude, longitude in points.tolist()
    ]
    return [_name(each) for each in name_places(asked)]


def _name(prediction: Prediction) -> str:
    country = places.country_name(prediction.country) if prediction.country else ""
    return ", ".join(part for part in (prediction.city, country) if part) or "the high seas"
