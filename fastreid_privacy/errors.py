"""What goes wrong on the user's side: one message that names the item and the fix, and no traceback."""


class UserError(RuntimeError):
    """A mistake in the user's config, data or files.

    The command-line tools print the message after ``error:`` and leave with exit code 2; nothing has been trained or written by then.
    """
