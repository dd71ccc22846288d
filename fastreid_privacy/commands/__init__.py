"""Every command line, thin: words become typed requests, and libraries below do the work.

``main`` is ``fastreid-privacy``; each other file is one command, its options and what it prints. ``options``
are those that several commands have.
"""
