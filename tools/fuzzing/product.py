"""The command lines of a tree of the project, this one or an older one, called in this process."""

from __future__ import annotations

import importlib
import logging
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

MODULES = (  # imported once, before any case: what every command needs, and libraries that load late
    *("fastreid_privacy", "torch", "onnx", "onnxruntime", "av", "nacl.public", "safetensors.torch"),
    *("cryptography.hazmat.primitives.ciphers.aead", "cryptography.hazmat.primitives.kdf.scrypt"),
    *("torchvision", "faiss", "PIL.Image"),
)
CHEAP = 2**10  # cost of a guess of the passphrase here; it is 2¹⁷, half a second


class Product:
    """A tree of the project whose command lines are called.

    Args:
        tree: folder with ``fastreid_privacy`` and ``tools``.
    """

    def __init__(self, tree: Path):
        self.tree = tree.resolve()
        sys.path.insert(0, str(self.tree))
        # an installed copy would fill in for modules that this tree does not have
        sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(finder)]
        for name in MODULES:
            importlib.import_module(name)
        if Path(sys.modules["fastreid_privacy"].__file__ or "").parents[1] != self.tree:
            raise RuntimeError(f"fastreid_privacy is not that of {self.tree}")
        for script in sorted((self.tree / "tools").glob("*.py")):
            if "fastreid_privacy" in script.read_text() and script.name != "bench.py":
                runpy.run_path(str(script))  # its commands are imported, and not run
        encryption = sys.modules.get("fastreid_privacy.keys.encryption") or importlib.import_module(
            "fastreid_privacy.custody.encryption"
        )
        encryption.COST["n"] = CHEAP
        logging.disable(logging.WARNING)

    def run(self, words: Sequence[str]) -> int:
        """Run a command line: the name of a script in ``tools``, or ``report``, and its words.

        Returns:
            The exit code.
        """
        script, *arguments = words
        sys.argv = [script, *arguments]
        try:
            if script == "report":
                self._report()
            else:
                runpy.run_path(str(self.tree / "tools" / f"{script}.py"), run_name="__main__")
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return 0

    def _report(self) -> None:
        if (self.tree / "fastreid_privacy" / "commands").is_dir():
            sys.exit(importlib.import_module("fastreid_privacy.commands.report").main())
        runpy.run_module("fastreid_privacy.report", run_name="__main__", alter_sys=True)
