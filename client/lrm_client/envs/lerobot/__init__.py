"""LeRobot's reward-model interface, answered by a reward-model server.

Importing this registers the type ``lrm`` with LeRobot; its command line does so when it is told
``--reward_model.discover_packages_path=lrm_client.envs.lerobot``. Modules and classes are named
as LeRobot's factories look for them::

    from lerobot.rewards import make_reward_model, make_reward_model_config

    import lrm_client.envs.lerobot

    config = make_reward_model_config("lrm", target="127.0.0.1:50051", head="progress")
    model = make_reward_model(config)
    rewards = model.compute_reward(batch)

It is importable without LeRobot; a config or a model that is made then says what to install.
"""

from lrm_client.envs.lerobot.configuration_lrm import LrmConfig
from lrm_client.envs.lerobot.modeling_lrm import BatchFailed, LrmRewardModel
from lrm_client.envs.lerobot.processor_lrm import make_lrm_pre_post_processors

__all__ = ["BatchFailed", "LrmConfig", "LrmRewardModel", "make_lrm_pre_post_processors"]
