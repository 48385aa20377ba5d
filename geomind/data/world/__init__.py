"""The synthetic demo world: street scenes drawn from a place, with cues that are true of the world.

traits.csv, traits                  how each country's roads, houses and sights look
climate                             what grows and lies at a place, and where its sun stands
stage                               a camera over a street
buildings, plants, roadside, sights what can stand there
scenes                              one scene of a place
album                               many places, and a folder of their photos with its manifest
"""

from geomind.data.world.album import make_world, sample_places
from geomind.data.world.scenes import draw_scene

__all__ = ["draw_scene", "make_world", "sample_places"]
