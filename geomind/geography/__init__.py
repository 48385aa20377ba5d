"""The Earth: the sphere, boxes on it, the table of regions, the names of places. It knows no photos and no models."""
