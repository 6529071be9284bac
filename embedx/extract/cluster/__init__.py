"""Extraction on many machines with Ray: actors run the local pipeline on units, this process hands out the work.

The only room that knows ray. No audio travels: an actor decodes and encodes by itself, only rows come back.
Whatever dies (an actor, a node, this process), every unit is delivered once; a clip that kills its process
becomes a failure row. `embedx.extract.leases` decides who is to blame, this room only moves things.
"""

from embedx.extract.cluster.driver import run_units_on_ray

__all__ = ["run_units_on_ray"]
