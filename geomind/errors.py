"""The exceptions of GeoMind: every one says what is wrong, where, and what to do.

    GeoMindError
    ├── ConfigError          a setting that is unknown, contradictory or out of range
    ├── ManifestError        a table of photos that cannot be used
    ├── PhotoError           one photo that cannot be read
    │   └── GPSError         a photo whose EXIF holds no usable position
    ├── CheckpointError      weights that are missing, broken or do not fit
    ├── OutputError          a file or folder that cannot be written
    ├── MissingExtraError    an optional dependency that is not installed
    ├── DownloadError        something asked for from the network that did not come
    │   ├── GoneError        it is not there any more
    │   └── UnreachableError it may come another time
    └── TrainingError        a training that cannot go on

The command line turns a ``GeoMindError`` into one line on stderr and exit code 1; anything else is a bug and shows its
traceback.
"""


class GeoMindError(Exception):
    """Whatever GeoMind itself has to say to its user."""


class ConfigError(GeoMindError):
    """A setting is unknown, contradicts another, or is out of range."""


class ManifestError(GeoMindError):
    """A table of photos cannot be used."""


class PhotoError(GeoMindError):
    """One photo cannot be read; its row keeps the reason."""


class GPSError(PhotoError):
    """A photo holds no usable position; the message is the reason."""


class CheckpointError(GeoMindError):
    """Weights are missing, broken, or of another kind, format or region table."""


class OutputError(GeoMindError):
    """A file or folder cannot be written."""


class MissingExtraError(GeoMindError):
    """An optional dependency is needed and not installed."""


class DownloadError(GeoMindError):
    """Something asked for from the network did not come; for one photo, the message is the reason alone."""


class GoneError(DownloadError):
    """It is not there any more, and asking again is of no use."""


class UnreachableError(DownloadError):
    """Its site gave no answer, and may another time."""


class TrainingError(GeoMindError):
    """A training cannot start or cannot go on."""
