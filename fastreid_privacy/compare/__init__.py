"""Methods beside each other on one data set and one budget: privacy, utility, recovery, size and speed.

The way of one method::

    methods         the file that names them, read strictly
    training        its model, a run of ``fastreid-privacy train``
    learned         whether that has learned from the people who are measured
    protecting      its stored files, sealed originals too; bytes an image, images a second
    utility         Re-ID learned from raw or protected files or jointly, in all settings; other tasks
    stages          all of that for every method, each stage made once and kept
    checking        what can be found wrong before anything is trained
    comparison      from the file to what is known of every method
    fronts          who is better than whom in privacy and utility
    stored          compare.json, and the same as a table for a terminal
    page            compare.html with its scatters
"""
