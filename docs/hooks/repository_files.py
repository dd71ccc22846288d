"""The site has the paths of the repository, so that links work in both.

MkDocs reads one folder, docs/. Here its files are put under ``docs/``, and pages outside of it beside them.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE",
    "projects/*/README.md",
    "fastreid_privacy/__init__.py",  # what pages link to
    "fastreid_privacy/config/keys.py",
)
HIDDEN = ("hooks", "__pycache__")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs with what it found in docs/; returns the files of the site."""
    root = Path(config.config_file_path).parent
    ours = [file for file in files if file.src_dir == config.docs_dir]
    for file in ours:
        files.remove(file)
    inside = [Path(str(file.abs_src_path)) for file in ours]
    outside = [path for pattern in OUTSIDE for path in sorted(root.glob(pattern))]
    for path in (*inside, *outside):
        relative = path.relative_to(root)
        if not set(HIDDEN) & set(relative.parts):
            files.append(File.generated(config, relative.as_posix(), abs_src_path=str(path)))
    return files
