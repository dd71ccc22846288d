"""Secrets: files that only a passphrase opens, and originals sealed to a public key. No networks here.

``passphrase`` (where it comes from), ``encryption`` (a file under a passphrase), ``sealing`` (raw files that
only the holder of a private key can open).
"""
