"""The version, for manifests, results and released files."""

__version__ = "0.1.0"
