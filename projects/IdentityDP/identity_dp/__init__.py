"""IdentityDP for pedestrians: a new body for everybody, as far from the old one as a privacy budget says.

The way of an image, and the file of each stage::

    networks      who is shown (an embedding of length one), how (a small code), and a picture of both
    sampling      Laplace noise, drawn exactly, from a cryptographic source
    mechanism     ε-IdentityDP: noise on the embedding, and back to length one
    accounting    what ε all images of one person have together
    operator      all of it as the operator ``identity_dp``

    learning      what the networks are to do, as losses of one batch
    training      over any fastreid data set; a killed run continues
    model_file    the one file of a model
    sweep         privacy and utility over ε
    commands      the command lines of train.py and sweep.py

Importing the package registers ``identity_dp``.
"""

from .operator import identity_dp

__all__ = ["identity_dp"]
