"""The version of lrm, client and server alike."""

__version__ = "0.1.0"
