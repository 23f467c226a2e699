"""What can keep the stack from running; every message names the remedy or the log."""


class StackError(Exception):
    """Shown to whoever typed the command, without a stack trace."""


class AlreadyRunning(StackError):
    """Another launcher holds the home."""


class DidNotStart(StackError):
    """A process ended, or stayed silent, before it was ready."""


class NoBinary(StackError):
    """A server's program is neither here nor to be had."""
