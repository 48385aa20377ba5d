"""The loop that many would write, for the bench to compare with: one photo after the other, nothing kept.

`python -m geomind.bench.plain_loop MODELS PHOTOS COUNT DEVICE FIGURES.json` runs it in a process of its own, whose
memory and settings are no one else's.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torchvision.transforms import v2

from geomind.bench.timing import write_json
from geomind.checkpoints import director_path, expert_path, read_description
from geomind.director import load_director_network
from geomind.expert import load_expert_network
from geomind.photos import find_photos, open_photo

WARM_UP = 2
"""Photos that go before those that are timed."""


@torch.inference_mode()
def locate_one_by_one(photos: Iterable[Path], models: Path, device: str = "cpu") -> float:
    """Answer photos: -> photos a second, those of the warm-up left out.

    Each is decoded whole, shrunk by torchvision's transforms and goes through the networks alone; the Expert that the
    Director names is read from disk for it.
    """
    description = read_description(director_path(models), "director")
    preprocessing = description.preprocessing
    see = v2.Compose(
        [
            v2.Resize(preprocessing.image_size, v2.InterpolationMode(preprocessing.resample)),
            v2.CenterCrop(preprocessing.image_size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    director = load_director_network(director_path(models)).eval().to(device)
    done, started = -WARM_UP, 0.0
    for photo in photos:
        if done == 0:
            started = time.perf_counter()
        pixels = see(open_photo(photo))[None].to(device)
        region_id = int(director(pixels)[0].argmax())
        expert = load_expert_network(expert_path(models, description.regions[region_id])).eval().to(device)
        expert(pixels)[0].tolist()
        done += 1
    return done / (time.perf_counter() - started)


if __name__ == "__main__":
    _models, _photos, _count, _device, _figures = sys.argv[1:]
    _wanted = itertools.islice(itertools.cycle(find_photos(_photos)), WARM_UP + int(_count))
    write_json({"images_per_s": locate_one_by_one(_wanted, Path(_models), _device)}, _figures, overwrite=True)
