"""Commands of the project with damaged and forged files; ``tools/fuzz.py`` runs it.

``product`` calls the commands of a tree, ``inputs`` makes small valid files of every kind, ``damage`` changes
bytes, ``forging`` and the ``forged_`` modules make what a hostile person would, ``kinds`` says which command
reads which file, ``options`` draws command lines, ``child`` runs commands under limits, ``cases`` draws a
case and judges what came of it, ``running`` does that for many.
"""
