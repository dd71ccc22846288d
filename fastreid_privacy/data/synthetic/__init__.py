"""Rendered pedestrians, so that everything runs without downloading a data set.

In order: :mod:`identity` says who somebody is, :mod:`pattern` what their clothes look like, :mod:`body` where
their joints are, :mod:`person` draws them on a :mod:`layer`, :mod:`scene` draws what is behind and before
them, :mod:`camera` takes the picture, :mod:`plan` says what is in which image, and :mod:`dataset` writes and
serves the collection. :mod:`truth` tells masks, joints and clothes of its people.
"""
