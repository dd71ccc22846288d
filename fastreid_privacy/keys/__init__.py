"""Secrets: files that only a passphrase opens; originals and templates sealed to public keys. No networks.

``passphrase`` (where it comes from), ``encryption`` (a file under a passphrase), ``pairs`` (public and
private keys, HPKE), ``envelope`` (the form of what is sealed), ``templates`` (sealed features of raw
pictures), ``sealing`` (key files, and what seals to them), ``pixels`` and ``segments`` (what is sealed, in
the lowest bits of a picture, or in a JPEG file).
"""
