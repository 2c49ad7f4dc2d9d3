"""Adapters of simulators: an environment whose reward comes from a reward model.

Each module is importable without its simulator: ``single`` and ``vector`` for Gymnasium,
``maniskill`` for ManiSkill's batched environments.
"""
