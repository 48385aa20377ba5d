"""How fast GeoMind is on this machine, against the bare work that it cannot do without."""
