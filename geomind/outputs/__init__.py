"""What becomes of predictions: one file per format, the map, and positions written back into copies of the photos.

A format is a module with ``write(predictions, columns, file) -> int``; those that are read back have ``read(path)``.
``predictions.py`` knows the columns and chooses the format.
"""
