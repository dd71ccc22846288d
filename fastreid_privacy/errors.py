"""What goes wrong on the user's side: one message that names the item and the fix, and no traceback."""


class UserError(RuntimeError):
    """A mistake in the user's config, data or files.

    The command-line tools print the message after ``error:`` and leave with exit code 2. What can be found before training is found before
    anything is trained or written (``preflight``); what shows only while running, as an image that cannot be decoded or a loss that
    diverges, leaves the checkpoints written by then for ``--resume``.
    """
