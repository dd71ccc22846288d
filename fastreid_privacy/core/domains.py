"""The domains that images belong to, by the paper's names, and which pairs of them are measured."""

from __future__ import annotations

DOMAINS = {"OI": "raw", "DI": "desensitized", "PI": "protected", "RI": "recovered"}
SETTINGS = ("OI-OI", "OI-PI", "PI-OI", "PI-PI")  # query domain, gallery domain
PAIRS = (*SETTINGS, "OI-DI", "RI-RI")
# name of an image quality → domain
QUALITY_DOMAINS = {"protected": "PI", "desensitized": "DI", "recovered": "RI"}
