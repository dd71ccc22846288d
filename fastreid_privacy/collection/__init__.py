"""Collections in and out: a folder or a data set of raw images to protected files, and protected files to recovered images.

The way of one file::

    source          which images a folder or a data set holds, and what each is to be called
    picture         an image file of any kind as upright RGB pixels
    pipeline        decoding, the network and encoding side by side, batch by batch
    manifest        what was written, line by line; what a killed run continues from
    run             the three together: a run that writes files whole, continues, and reports by name what it left out
    protect         raw → protected: ``tools/anonymize.py``
    recover         protected → recovered: ``tools/recover.py``
    compare         recovered and raw: ``tools/recover.py --verify``
    unseal          sealed originals → the raw files: ``tools/recover.py --identity``
"""

from .manifest import MANIFEST, Manifest, read_manifest
from .picture import read_picture
from .protect import protect_collection
from .recover import recover_collection
from .source import Source, dataset_source, folder_source
from .unseal import unseal_collection

__all__ = [
    "MANIFEST", "Manifest", "Source", "dataset_source", "folder_source", "protect_collection", "read_manifest", "read_picture",
    "recover_collection", "unseal_collection",
]  # fmt: skip
