"""A folder whose files lie in its tar files, each under the path that it would have in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from .errors import UserError
from .members import Readable, TarMember
from .remote import Place, there
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
        """The file of a path.

        Raises:
            UserError: when its tar cannot be read.
        """
        tar = self.tars.get(path)
        return (self._members(tar).get(path) if tar else None) or self.root / path

    def _members_of(self, tar: str) -> dict[str, TarMember]:
        place = self.root / tar
        if not there(place):
            return {}
        try:
            return files_of_tar(place).members
        except UserError as error:
            raise UserError(f"{place}: {error}") from None


Folder = Place | PackedFolder
"""Where the files of a manifest are, by their paths."""
