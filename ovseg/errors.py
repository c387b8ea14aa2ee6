"""The errors that a user can cause. Each message says what was given, what is allowed and what to type.

The command line prints these without a traceback and exits with ``exit_code``. Everything else that is raised
is a bug of ours and keeps its traceback.
"""


class OvsegError(Exception):
    """Base of every error that is the fault of an input, a config, a file or the network."""

    exit_code = 1


class ConfigError(OvsegError):
    """A config names something unknown, misses something, or has a value of the wrong type."""


class RegistryError(ConfigError):
    """A name is not registered, is registered twice, or cannot be imported."""


class PluginError(OvsegError):
    """A plugin that was asked for cannot be loaded."""


class VocabularyError(OvsegError):
    """A class list is empty, malformed, contradictory or cannot be encoded."""


class DataError(OvsegError):
    """A picture or a data set cannot be read, or is not what it claims to be."""


class AbsentDataError(DataError):
    """A data set is not on disk, or not where it was looked for."""


class LabelError(DataError):
    """A class index is outside a data set's list; no other picture can make up for it."""


class WeightsError(OvsegError):
    """Weights are missing, damaged, of another model, or cannot be downloaded."""


class OutputError(OvsegError):
    """A result cannot be written."""
