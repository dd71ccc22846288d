"""What everything stands on and what knows nothing of the method.

``errors`` (messages for users, exit codes), ``files`` (written whole or not at all), ``lock`` (one process at
a time), ``signals`` (that end it), ``images`` (ranges of pixel values, 8 bits, PNG), ``pictures`` (image
files as RGB pixels), ``folders`` (which images a folder holds), ``remote`` (places that fsspec opens),
``tars`` and ``members`` (files inside of tar files), ``domains`` (raw, protected, desensitized, recovered),
``registry`` (names of parts), ``projects`` (packages that register parts), ``dotted`` (keys of a config),
``extras`` (libraries that only a part needs), ``version``.
"""
