"""Stubs generated from proto/lrm/v1 by the build or by ``make stubs``; never edited."""
