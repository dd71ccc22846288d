"""Packaging: ``pip install -r requirements.txt``, ``pip install --no-deps fastreid==1.4.0``, ``pip install -e
.`` (see the README)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent

setup(
    name="fastreid_privacy",
    version=re.search(
        r'__version__ = "(.+)"', (root / "fastreid_privacy" / "core" / "version.py").read_text()
    )[1],
    description="Reversible, learnable anonymization of pedestrian images for fastreid",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["fastreid_privacy", "fastreid_privacy.*"]),
    package_data={"": ["*.html", "*.css"]},
    # fastreid itself is left out: its metadata pins torch 1.13.1, so it is installed with --no-deps.
    install_requires=[
        line.partition("#")[0].strip()
        for line in (root / "requirements.txt").read_text().splitlines()
        if line.partition("#")[0].strip()
    ],
)
