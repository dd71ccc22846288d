"""Collections and galleries on a cluster: Ray hands pieces of a run to the processes of many machines.

The way of one piece::

    engine       of a collection: the shards of a run, whose manifests are all that is left of them
    galleries    of a gallery: batches, whose features come back
    tasks        pieces to tasks; what a lost process or machine had is done again by others
    parcels      all that travels, there and back, is encrypted on the way
    nodes        a cluster that runs, or one of this machine's own for as long as the run takes
    worker       in a process of the cluster: a parcel opened, a piece done

Workers read raw files themselves, and write protected files and the manifests of shards. So neither pixels
nor the key of noise ever are in Ray's memory or on its disks.
"""

from .engine import RayEngine

__all__ = ["RayEngine"]
