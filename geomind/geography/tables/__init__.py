"""The tables that ship with GeoMind, and the script that builds them."""
