"""Every command line, thin: words become typed requests, and libraries below do the work.

``main`` is ``fastreid-privacy``; a file with the name of a command has its options and what it prints. What
several commands have is in ``parsers`` (name, example, lists), ``options`` and ``running``; ``video`` is what
``anonymize`` and ``recover`` do with a video.
"""
