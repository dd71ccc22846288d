"""Training a model and testing it.

``siblings`` (Base and the upper bound beside a run), ``preflight`` (all that can be found wrong before
training), ``experiment`` (Base, upper bound and the model itself, one after the other), ``trainer``
(fastreid's loop) with ``solver`` (optimizer, learning rate), ``hooks`` (supervision upgradation, checkpoints)
and ``checkpointer``, ``testing`` (a model on a data set), ``evaluate_only`` (a checkpoint, without training).
"""
