"""Keys kept apart: what the camera, the holder of the key and the researchers each get of a trained model, and sealed originals.

``encryption`` and ``passphrase`` protect a file with a passphrase; ``release`` splits a checkpoint into parts; ``sealing`` closes raw files
so that only the holder of a private key can open them. ``tools/export.py`` is ``command_line``.
"""
