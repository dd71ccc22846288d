"""Training a model and testing it.

``request``        what a command asks for
``siblings``       Base and the upper bound beside a run, and what a folder holds of a run
``image_lists``    of which images a run is
``preflight``      all that can be found wrong before training, with ``model_checks``
``experiment``     Base, upper bound and the model itself, one after the other
``trainer``        fastreid's loop, over ``step``, ``solver`` (optimizer, learning rate), ``hooks`` (upgrades,
                   checkpoints), ``checkpointer`` and ``processes`` (DistributedDataParallel)
``testing``        a model on the validation split and on the test sets
``evaluate_only``  a checkpoint, without training
``own_process``    a training in a process of its own, for commands that need one
``schedule``       fewer epochs, and what goes with them in proportion
"""
