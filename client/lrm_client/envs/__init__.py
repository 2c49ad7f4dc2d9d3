"""Adapters of simulators and trainers: rewards come from a reward model.

Each module is importable without its library: ``single`` and ``vector`` for Gymnasium,
``maniskill`` for ManiSkill's batched environments, ``lerobot`` for LeRobot's reward models.
"""
