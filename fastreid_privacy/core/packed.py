"""A folder whose files lie in its tar files, each under the path that it would have in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from .errors import UserError
from .members import Readable, TarMember
from .remote import About, Place, there
from .tars import files_of_tar

OPEN_TARS = 8  # of which the places of all files are known at a time; files are asked for in sorted order


class PackedFolder:
    """Files are found in their tar, or in the folder itself where that was unpacked and is gone.

    Args:
        root: the folder.
        tars: the name of the tar file that holds a file, by the file's path.
    """

    def __init__(self, root: Place, tars: Mapping[str, str]):
        self.root, self.tars = root, tars
        self._members = lru_cache(maxsize=OPEN_TARS)(self._members_of)

    def __truediv__(self, path: str) -> Readable:
        """The file of a path; one that cannot be read says why when it is."""
        tar = self.tars.get(path)
        if tar is None:
            return self.root / path
        found = self._members(tar)
        if isinstance(found, str):
            return TarMember(self.root / tar, 0, About(0, 0), found)
        if not found and not there(self.root / tar):
            alone = self.root / path
            missing = f"{tar}, in which it lies, is not there"
            return alone if there(alone) else TarMember(self.root / tar, 0, About(0, 0), missing)
        return found.get(path) or TarMember(self.root / tar, 0, About(0, 0), f"{tar} does not hold it")

    def _members_of(self, tar: str) -> dict[str, TarMember] | str:
        """What a tar holds, nothing of one that is not there; or why it cannot be read."""
        place = self.root / tar
        if not there(place):
            return {}
        try:
            return files_of_tar(place).members
        except UserError as error:
            return f"of {tar}: {error}"


Folder = Place | PackedFolder
"""Where the files of a manifest are, by their paths."""
