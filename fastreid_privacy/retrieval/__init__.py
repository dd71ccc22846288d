"""Retrieval as its user does it: a FAISS index of a gallery of pictures, asked with a picture of any domain.

The way of one answer, and the file of each stage::

    extract       a checkpoint as a function: images to Re-ID features, or to protected images
    gallery       a folder, a store or tar files: which images they hold
    features      what is made of a batch, by which engine; all batches in order
    templates     the features that protected files carry, for who has the search key
    index         FAISS indexes: exact (flat), compressed (ivfpq), a graph (hnsw)
    measure       how near an inexact index comes to the exact search, and at what cost
    build         gallery → index
    settings      the four settings of a protected data set, without and with the search key
    faiss_bytes   which bytes FAISS may read
    index_file    the one file that an index is kept in
    query         pictures → rankings
    strip         queries and ranked pictures as one picture

The joint model knows raw and protected images, so the gallery and the query may be of either kind, and a
gallery may mix them.
"""

from .build import build_from_templates, build_index
from .extract import Extractor, load_extractor
from .index import KINDS, GalleryIndex
from .index_file import read_index, write_index
from .query import Answer, answers_strip, ask

__all__ = [
    "KINDS",
    "Answer",
    "Extractor",
    "GalleryIndex",
    "answers_strip",
    "ask",
    "build_from_templates",
    "build_index",
    "load_extractor",
    "read_index",
    "write_index",
]
