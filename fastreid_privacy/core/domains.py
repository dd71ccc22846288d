"""The domains that images belong to, by the paper's names, and which pairs of them are measured."""

from __future__ import annotations

DOMAINS = {"OI": "raw", "DI": "desensitized", "PI": "protected", "RI": "recovered"}
PAIRS = ("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI")  # query domain, gallery domain
# name of an image quality → domain
QUALITY_DOMAINS = {"protected": "PI", "desensitized": "DI", "recovered": "RI"}
