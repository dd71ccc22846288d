"""Utility for other tasks: what networks learn from protected images, and do on raw ones.

The question of who publishes protected images: can others still train on them what is not Re-ID? In order::

    truth           where the person is in each image, where their joints are, what they wear
    files           the same of a data set of one's own: masks, COCO keypoints, a table of attributes
    networks        small networks for a CPU: a U-Net for masks and joints, a classifier
    scores          IoU, PCK and balanced accuracy
    measure         training on the known people as a view shows them, measuring on the others
"""
