"""Collections in and out: folders or data sets of raw images to protected files, and back to recovered ones.

The way of one file::

    source          which images a folder or a data set holds, and what each is to be called
    elsewhere       likewise of a store or of tar files
    output          the output folder: one run's alone, continued, never others' files
    pipeline        decoding, the network and encoding side by side, batch by batch
    batch_mapper    the network over a batch of pictures
    staging         files that take the place of others, whole before they do
    stamps          raw files that were replaced under their name are noticed
    review          what a person said of protected images
    work            what a run is told: its files, what is done with them, and by what
    suspects        files that may not be what a run makes now: compared, made again, or named
    making          one batch: its files read, made together, and each put where it belongs
    packing         tar files as an output
    shards          batches that one process does together, and the manifest that it leaves
    run             all of them: continued after a kill, and every file accounted for by name
    protecting      a batch of raw pictures to protected ones
    guard           holds each of them to the thresholds
    protected_files how one raw file becomes a protected one
    protect         raw → protected
    describing      templates of raw pictures, for who may search
    carrying        where what is sealed travels: beside the protected file, or in it
    fitting         an original encoded anew, where it does not fit there
    recover         protected → recovered
    compare         how near recovered images come to the raw ones
    carriers        files that carry their originals, opened
    unseal          sealed originals → the raw files
"""

from ..core.pictures import read_picture
from ..manifest import MANIFEST, Manifest, read_manifest
from .protect import ProtectionOptions, protect_collection
from .recover import read_protected, recover_collection
from .source import Source, dataset_source, folder_source
from .unseal import unseal_collection

__all__ = [
    "MANIFEST",
    "Manifest",
    "ProtectionOptions",
    "Source",
    "dataset_source",
    "folder_source",
    "protect_collection",
    "read_manifest",
    "read_picture",
    "read_protected",
    "recover_collection",
    "unseal_collection",
]
