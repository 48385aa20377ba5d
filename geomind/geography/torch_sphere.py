"""Great-circle distances that a network can learn from: the one place of trigonometry on tensors.

``sphere`` says the same of NumPy arrays, without waiting for torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geomind.geography.sphere import EARTH_RADIUS_KM


def great_circle_km(a: Tensor, b: Tensor) -> Tensor:
    """Measure great-circle distances: (..., 2), (..., 2) degrees of one shape -> (...) km, longitudes of any turn.

    The angle between unit vectors is atan2(|a × b|, a · b), well conditioned at every distance (Vincenty 1975 for the
    sphere). Its gradient is that of a distance, 1 km a km, and 0 at no distance and between antipodes, where none is
    defined; that of the haversine formula is not a number there.
    """
    a, b = _unit_vectors(a), _unit_vectors(b)
    across = torch.linalg.vector_norm(torch.linalg.cross(a, b), dim=-1)
    return EARTH_RADIUS_KM * torch.atan2(across, (a * b).sum(dim=-1))


def _unit_vectors(points: Tensor) -> Tensor:
    latitude, longitude = torch.deg2rad(points).unbind(dim=-1)
    east = torch.cos(latitude)
    return torch.stack([east * torch.cos(longitude), east * torch.sin(longitude), torch.sin(latitude)], dim=-1)
