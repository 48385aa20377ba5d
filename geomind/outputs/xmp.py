"""A position as an XMP sidecar, a file beside the photo (XMP specification, parts 1 and 2). It reads no photo."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from geomind.outputs.exif import micro_degrees
from geomind.photos import ESTIMATE_MARK
from geomind.predictions import Prediction

SidecarNames = Literal["darktable", "adobe"]
"""How a sidecar of ``photo.jpg`` is called: ``photo.jpg.xmp`` is what darktable and digiKam read, ``photo.xmp`` what
Lightroom reads, and that for raw files only: in a JPEG, PNG or TIFF it looks inside the file."""


def sidecar_path(photo: Path, names: SidecarNames) -> Path:
    """Name the sidecar of a photo."""
    return photo.with_name(f"{photo.name}.xmp") if names == "darktable" else photo.with_suffix(".xmp")


def sidecar(prediction: Prediction) -> str:
    """Write the place of a prediction as an XMP document.

    The mark of an estimate is there twice: as EXIF's method, and as a keyword, which programs show, search for and
    keep when they write the sidecar anew.

    Raises:
        ValueError: the prediction has no place.
    """
    if prediction.place is None:
        raise ValueError(f"{prediction.image_path} has no place")
    latitude, longitude = prediction.place
    radius = prediction.radius_km_90
    error = "" if radius is None else f'\n    exif:GPSHPositioningError="{round(radius * 1000)}/1"'
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="GeoMind">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    exif:GPSVersionID="2.3.0.0"
    exif:GPSLatitude="{_coordinate(latitude, "NS")}"
    exif:GPSLongitude="{_coordinate(longitude, "EW")}"
    exif:GPSMapDatum="WGS-84"
    exif:GPSProcessingMethod="{ESTIMATE_MARK}"{error}>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>{ESTIMATE_MARK}</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def _coordinate(degrees: float, hemispheres: str) -> str:
    """Write a coordinate as XMP's GPSCoordinate, ``48,51.493700N``, exactly."""
    whole, rest = divmod(micro_degrees(degrees), 1_000_000)
    minutes, rest = divmod(rest * 60, 1_000_000)
    return f"{whole},{minutes}.{rest:06d}{hemispheres[degrees < 0]}"
