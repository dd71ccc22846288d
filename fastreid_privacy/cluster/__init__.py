"""A collection on a cluster: Ray hands the shards of a run to the processes of many machines.

The way of one shard::

    collection.shards   batches of the sorted list, and the manifest that is left of them
    parcels             all that travels is encrypted on the way
    engine              shards to tasks; what a lost process or machine had is done again by others
    nodes               a cluster that runs, or one of this machine's own for as long as the run takes
    worker              in a process of the cluster: a parcel opened, a shard done

Workers read raw files themselves, and write protected files and the manifests of shards. So neither pixels
nor the key of noise ever are in Ray's memory or on its disks.
"""

from .engine import RayEngine

__all__ = ["RayEngine"]
