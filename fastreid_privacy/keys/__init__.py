"""Secrets: files that only a passphrase opens, and originals sealed to public keys. No networks here.

``passphrase`` (where it comes from), ``encryption`` (a file under a passphrase), ``pairs`` (public and
private keys, HPKE), ``envelope`` (the form of a sealed original), ``sealing`` (key files, and what seals to
them), ``pixels`` and ``segments`` (a sealed original in the lowest bits of a picture, or in a JPEG file).
"""
