"""PPO on ManiSkill with rewards from lrm, in one file.

    python client/examples/ppo_maniskill.py --env-id PushCube-v1 --reward progress --seed 1

It starts from a policy cloned from demonstrations (maniskill_demonstrations.py makes them), acts on
the simulator's state, and is paid by a reward model that looks at a rendered frame every
`interval` steps. Stepping and scoring overlap: each step is submitted, and the rollout's rewards
are gathered before the advantages.

Every iteration is one episode of every environment, of a fixed number of steps. The simulator's
reward and success do not reach the learner, unless `--reward environment` asks for that reward:
success is measured on seeds apart, and only reported.

PPO as LRM has it (arXiv 2603.16065): gamma 0.99, lambda 0.95, clip 0.1, a KL penalty of 0.05
towards the start, two epochs. VLLR's two ideas (arXiv 2604.00055) are options: `--warmup-steps`
trains the critic alone on returns of the progress signal and then asks the server no more, and
`--certainty` pays the policy for being certain.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import gymnasium as gym
import mani_skill.envs  # noqa: F401  (registers the environments)
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from mani_skill.utils.wrappers.gymnasium import CPUGymWrapper
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lrm_client import RewardClient
from lrm_client.envs.maniskill import ManiSkillRewardEnv
from lrm_client.envs.vector import RewardVectorEnv

CONTROL_MODE: Final = "pd_ee_delta_pos"
TASKS: Final = {
    "PushCube-v1": "Push the blue cube into the target circle.",
    "PullCube-v1": "Pull the blue cube into the target circle.",
    "PickCube-v1": "Pick up the red cube and move it to the green goal position.",
    "StackCube-v1": "Stack the red cube on top of the green cube.",
    "LiftPegUpright-v1": "Lift the peg and stand it upright.",
}
# With which a run that was stopped may go on differently.
FREE: Final = frozenset({"run", "server", "demonstrations", "iterations", "evaluate_every"})
# Seeds of the episodes that are learned from, and of those that are measured on.
LEARN_SEED: Final = 100_000
EVALUATE_SEED: Final = 60_000


@dataclass
class Args:
    """What is learned, from which rewards, and how."""

    env_id: str = "PushCube-v1"
    task: str = ""
    """The task in words; empty for the environment's own."""
    seed: int = 1
    run: Path = Path("runs/ppo")
    """Where TensorBoard's events, the checkpoint and result.json go. A run that was stopped goes on
    from its checkpoint."""
    demonstrations: Path = Path("runs/demonstrations")

    reward: Literal["contrastive", "progress", "completion", "tri", "environment"] = "progress"
    server: str = "127.0.0.1:50051"
    interval: int = 10
    hold: Literal["hold", "zero", "spread", "difference"] = "hold"
    weight: float = 1.0
    """Share of the model in the reward; the rest is the environment's own."""
    camera_size: int = 128
    """Pixels on a side of the frames that are scored."""

    simulator: Literal["cpu", "gpu"] = "cpu"
    num_envs: int = 32
    horizon: int = 50
    iterations: int = 30
    epochs: int = 2
    minibatches: int = 4
    learning_rate: float = 3e-4
    critic_learning_rate: float = 1e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.1
    kl_beta: float = 0.05
    max_grad_norm: float = 0.5
    critic_iterations: int = 3
    """So many first iterations train the critic alone: advantages of an untrained critic would
    throw away what was cloned."""
    critic_epochs: int = 10
    """Epochs of those iterations."""

    cloned_episodes: int = 20
    cloning_steps: int = 2000
    spread: float = 0.15
    """Standard deviation of the actions at first; their range is [-1, 1]."""

    warmup_steps: int = 0
    """VLLR: so many first steps of all environments together train the critic alone on the returns
    of the progress signal. Then the server is asked no more, and the critic stays: what pays from
    then on is the rise of its value, and certainty."""
    certainty: float = 0.0
    """VLLR: factor of the policy's self-certainty as a reward of its own."""

    evaluation_episodes: int = 100
    evaluate_every: int = 10


class Agent(nn.Module):
    """A Gaussian policy with a spread of its own for each action, and a critic.

    Observations are float32 (..., O), actions float32 (..., A) within [-1, 1].
    """

    def __init__(self, observations: Tensor, action_size: int, spread: float) -> None:
        super().__init__()
        size = observations.shape[-1]
        self.register_buffer("mean", observations.mean(0))
        self.register_buffer("scale", observations.std(0).clamp_min(1e-2))
        self.policy = network(size, action_size, last_gain=0.01)
        self.critic = network(size, 1, last_gain=1.0)
        self.log_spread = nn.Parameter(torch.full((action_size,), math.log(spread)))

    def seen(self, observations: Tensor) -> Tensor:
        """Observations in the demonstrations' scale; what lies far outside is cut off."""
        return ((observations - self.mean) / self.scale).clamp(-5, 5)

    def act(self, observations: Tensor) -> Normal:
        """The distribution of actions."""
        return Normal(self.policy(self.seen(observations)), self.log_spread.exp())

    def value(self, observations: Tensor) -> Tensor:
        """The critic's value of each observation, (...)."""
        return self.critic(self.seen(observations)).squeeze(-1)


def network(inputs: int, outputs: int, last_gain: float) -> nn.Sequential:
    """Two hidden layers; orthogonal weights, the last layer's scaled by `last_gain`."""
    layers = [nn.Linear(inputs, 256), nn.Linear(256, 256), nn.Linear(256, outputs)]
    for layer, gain in zip(layers, (math.sqrt(2), math.sqrt(2), last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def self_certainty(policy: Normal, low: float = -1.0, high: float = 1.0) -> Tensor:
    """KL(uniform over [low, high]^A || policy), (...): large where the policy is sharp.

    VLLR's self-certainty for a policy over a box of actions. For each action, with the uniform's
    mean m and variance (high - low)^2 / 12:
    -log(high - low) + log(spread sqrt(2 pi)) + ((high - low)^2 / 12 + (m - mean)^2) / (2 spread^2).
    """
    width = high - low
    variance = policy.scale**2
    second_moment = width**2 / 12 + ((low + high) / 2 - policy.mean) ** 2
    kl = 0.5 * torch.log(2 * math.pi * variance) - math.log(width) + second_moment / (2 * variance)
    return kl.sum(-1)


def clone(args: Args, device: torch.device) -> Agent:
    """A policy regressed on the first demonstrations; the same arguments give the same one."""
    path = args.demonstrations / f"{args.env_id}_{args.horizon}.npz"
    if not path.exists():
        raise SystemExit(
            f"{path} does not exist: run maniskill_demonstrations.py --env-id {args.env_id} "
            f"--horizon {args.horizon} --to {args.demonstrations}"
        )
    with np.load(path) as file:
        seen, asked = file["observations"], file["actions"]
    if len(seen) < args.cloned_episodes:
        raise SystemExit(f"{path} has {len(seen)} episodes, not {args.cloned_episodes}")
    steps = [timed(seen[:, step], step, args) for step in range(args.horizon)]
    observations = torch.stack(steps, 1)[: args.cloned_episodes].flatten(0, 1).to(device)
    actions = torch.as_tensor(asked[: args.cloned_episodes], device=device).flatten(0, 1)
    # The start is the same for all seeds and rewards: what differs is what was learned.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agent = Agent(observations, actions.shape[-1], args.spread).to(device)
        optimiser = torch.optim.Adam(agent.policy.parameters(), lr=1e-3)
        for _ in tqdm(range(args.cloning_steps), desc="cloning", leave=False):
            batch = torch.randint(len(observations), (256,), device=device)
            error = agent.act(observations[batch]).mean - actions[batch]
            optimiser.zero_grad()
            error.square().mean().backward()
            optimiser.step()
    return agent


def make_envs(args: Args, *, rendered: bool) -> Any:
    """N environments without rewards from lrm: one batched simulator, or N on the CPU.

    Both are stepped for `horizon` steps and then reset by hand, so nothing ends an episode early.
    """
    on_gpu = args.simulator == "gpu"

    def make(num_envs: int) -> gym.Env[Any, Any]:
        return gym.make(
            args.env_id,
            num_envs=num_envs,
            obs_mode="state",
            control_mode=CONTROL_MODE,
            max_episode_steps=args.horizon,
            sim_backend="physx_cuda" if on_gpu else "cpu",
            render_backend="gpu" if on_gpu else "cpu",
            render_mode="rgb_array" if rendered else None,
            human_render_camera_configs={"width": args.camera_size, "height": args.camera_size},
        )

    if on_gpu:
        return make(args.num_envs)
    one = [lambda: CPUGymWrapper(make(1), ignore_terminations=True)] * args.num_envs
    return SyncVectorEnv(one, autoreset_mode=AutoresetMode.DISABLED)


def with_rewards(envs: Any, client: RewardClient, args: Args) -> Any:
    """The environments, paid by the reward model; `gather` gives the rewards of a rollout."""
    wrapper = ManiSkillRewardEnv if args.simulator == "gpu" else RewardVectorEnv
    head = "progress" if args.warmup_steps else args.reward
    return wrapper(
        envs,
        client,
        args.task or TASKS[args.env_id],
        [head],
        weight=args.weight,
        deferred=True,
        interval=args.interval,
        hold=args.hold,
        failure="mask",
    )


@dataclass
class Rollout:
    """One episode of T steps of N environments.

    Attributes:
        observations: (T + 1, N, O).
        actions: (T, N, A), before they are cut to the range of actions.
        rewards: (T, N); NaN where there is none.
        components: means of the rewards' parts, for the log.
        queries: how often the server was asked about an environment.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    components: dict[str, float]
    queries: int = 0


def timed(observation: Any, step: int, args: Args) -> Tensor:
    """Observations (..., O) with the share of the episode that is over, (..., O + 1).

    An episode of fixed length looks different to who knows how much is left of it
    (arXiv 1712.00378); and a clone that sees no time stays where the planner stood still.
    """
    seen = torch.as_tensor(observation)
    return torch.cat([seen, torch.full_like(seen[..., :1], step / args.horizon)], -1)


def taken(action: Tensor, args: Args) -> Any:
    """Actions within their range, as the simulator takes them."""
    inside = action.clamp(-1, 1)
    return inside if args.simulator == "gpu" else inside.cpu().numpy()


@torch.no_grad()
def roll_out(envs: Any, agent: Agent, args: Args, seed: int, *, scored: bool) -> Rollout:
    """Acts for one episode of every environment, from the initial states of a seed."""
    device = agent.log_spread.device
    observation, _ = envs.reset(seed=[seed + at for at in range(args.num_envs)])
    observations, actions, own = [timed(observation, 0, args).to(device)], [], []
    for step in range(1, args.horizon + 1):
        action = agent.act(observations[-1]).sample()
        # With rewards from lrm this submits the step's frames and does not wait for its rewards.
        observation, reward, *_ = envs.step(taken(action, args))
        observations.append(timed(observation, step, args).to(device))
        actions.append(action)
        own.append(torch.as_tensor(reward, device=device))
    rollout = Rollout(torch.stack(observations), torch.stack(actions), torch.empty(0), {})
    if scored:
        paid = envs.gather()
        rollout.rewards = torch.as_tensor(paid.rewards, device=device)
        rollout.components = {
            f"rewards/{head}": float(
                np.nanmean([step.heads[head].values for step in paid.model.steps])
            )
            for head in paid.model.steps[0].heads
        }
        rollout.components["rewards/missing"] = float(1 - paid.valid.mean())
        # A step that was asked and failed was asked too.
        asked = np.isin(paid.model.source, ("queried", "failed"))
        rollout.queries = int(asked.sum())
    else:
        # The simulator's pay is for the learner that asked for it, not for one after its warm-up.
        simulated = torch.stack(own).float()
        asked_for = args.reward == "environment"
        rollout.rewards = simulated if asked_for else torch.zeros_like(simulated)
    rollout.components["rewards/paid"] = float(rollout.rewards.nanmean())
    return rollout


def advantages_of(
    rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438) over episodes that are cut off at T.

    The horizon is a truncation, so the last value stands for what would follow. A step without a
    reward (NaN) has no advantage, and the sums of the steps before it end there with the critic's
    value: nothing is made up.

    Args:
        rewards: (T, N).
        values: (T + 1, N), of the observations.
        gamma: discount.
        gae_lambda: decay of the sum.

    Returns:
        Advantages (T, N), 0 where there is no reward, and where there is one, bool (T, N).
    """
    known = ~rewards.isnan()
    advantages = torch.zeros_like(values[:-1])
    following = torch.zeros_like(values[0])
    for step in reversed(range(len(rewards))):
        error = rewards[step] + gamma * values[step + 1] - values[step]
        following = torch.where(known[step], error + gamma * gae_lambda * following, 0.0)
        advantages[step] = following
    return advantages, known


class Learner:
    """PPO, and what it needs to go on after a stop."""

    def __init__(self, args: Args, device: torch.device) -> None:
        self.args = args
        self.agent = clone(args, device)
        self.start = clone(args, device).requires_grad_(False)
        critic = list(self.agent.critic.parameters())
        policy = [*self.agent.policy.parameters(), self.agent.log_spread]
        # Apart, so that a large error of the critic does not drown the policy's gradient.
        self.groups = (policy, critic)
        rates = (args.learning_rate, args.critic_learning_rate)
        self.optimiser = torch.optim.Adam(
            [{"params": p, "lr": r} for p, r in zip(self.groups, rates, strict=True)], eps=1e-5
        )
        self.iteration, self.steps, self.queries = 0, 0, 0
        self.success: dict[str, list[bool]] = {}
        """By iteration: whether each evaluation episode ended in success."""
        self.file = args.run / "checkpoint.pt"
        if self.file.exists():
            saved = torch.load(self.file, weights_only=True)
            changed = [n for n, v in self._arguments().items() if saved["arguments"].get(n) != v]
            if changed:
                raise SystemExit(
                    f"{args.run} holds a run with other {', '.join(changed)}: name another --run"
                )
            self.agent.load_state_dict(saved["agent"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.iteration, self.steps = saved["iteration"], saved["steps"]
            self.queries, self.success = saved["queries"], saved["success"]

    def save(self) -> None:
        """Writes all that going on needs; an interrupted write leaves the one before."""
        part = self.file.with_suffix(".part")
        saved = {name: getattr(self, name) for name in ("iteration", "steps", "queries", "success")}
        saved |= {"agent": self.agent.state_dict(), "optimiser": self.optimiser.state_dict()}
        saved["arguments"] = self._arguments()
        torch.save(saved, part)
        part.rename(self.file)

    def _arguments(self) -> dict[str, Any]:
        """What cannot change within a run."""
        return {name: value for name, value in asdict(self.args).items() if name not in FREE}

    @property
    def warming_up(self) -> bool:
        """Whether the critic alone learns, from the progress signal."""
        return self.steps < self.args.warmup_steps

    @property
    def asks(self) -> bool:
        """Whether rewards come from the server."""
        if self.args.warmup_steps:
            return self.warming_up
        return self.args.reward != "environment"

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """One iteration's updates; returns what to log."""
        args, agent = self.args, self.agent
        observations, actions = rollout.observations[:-1], rollout.actions
        with torch.no_grad():
            values, policy = agent.value(rollout.observations), agent.act(observations)
            rewards, before = rollout.rewards, policy.log_prob(actions).sum(-1)
            certainty = self_certainty(policy)
            if args.certainty and not self.warming_up:
                rewards = rewards + args.certainty * certainty
            # Discounted sums become means: values are in the reward's own unit and range.
            rewards = rewards * (1 - args.gamma)
            # The warm-up's returns are discounted sums up to the horizon, and the value there.
            decay = 1.0 if self.warming_up else args.gae_lambda
            advantages, known = advantages_of(rewards, values, args.gamma, decay)
            returns = advantages + values[:-1]
        log = {"rewards/certainty": float(certainty.mean()), "values": float(values.mean())}
        if not known.any():
            return log
        # Steps without a reward are left out of every mean.
        data = [t[known] for t in (observations, actions, before, advantages, returns)]
        critic_only = self.warming_up or (
            not args.warmup_steps and self.iteration < args.critic_iterations
        )
        frozen_critic = bool(args.warmup_steps) and not self.warming_up
        for _ in range(args.critic_epochs if critic_only else args.epochs):
            for batch in torch.randperm(len(data[0])).chunk(args.minibatches):
                seen, action, old, advantage, target = (t[batch] for t in data)
                critic_loss = 0.5 * (agent.value(seen) - target).square().mean()
                if critic_only:
                    self._update(critic_loss)
                    continue
                now = agent.act(seen)
                ratio = (now.log_prob(action).sum(-1) - old).exp()
                # Of the batch itself: a lone advantage has no spread to be estimated.
                spread = advantage.std(correction=0)
                advantage = (advantage - advantage.mean()) / (spread + 1e-8)
                clipped = ratio.clamp(1 - args.clip, 1 + args.clip)
                gain = torch.min(ratio * advantage, clipped * advantage).mean()
                # Away from the start; the spreads are left out, which may shrink freely.
                start = Normal(self.start.act(seen).mean, self.start.log_spread.exp())
                kl = kl_divergence(Normal(now.mean, start.scale), start).sum(-1).mean()
                loss = -gain + args.kl_beta * kl
                self._update(loss if frozen_critic else loss + critic_loss)
                log |= {"losses/kl_from_start": kl.item(), "losses/gain": gain.item()}
            log["losses/critic"] = critic_loss.item()
        return log

    def _update(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        for group in self.groups:
            nn.utils.clip_grad_norm_(group, self.args.max_grad_norm)
        self.optimiser.step()


@torch.no_grad()
def evaluate(envs: Any, agent: Agent, args: Args) -> list[bool]:
    """Whether each evaluation episode ends in success, acting without noise; seeds are fixed."""
    device = agent.log_spread.device
    success: list[bool] = []
    while len(success) < args.evaluation_episodes:
        first = EVALUATE_SEED + len(success)
        observation, _ = envs.reset(seed=[first + at for at in range(args.num_envs)])
        for step in range(args.horizon):
            action = agent.act(timed(observation, step, args).to(device)).mean
            observation, *_, info = envs.step(taken(action, args))
        success += [bool(one) for one in info["success"]]
    return success[: args.evaluation_episodes]


def main(args: Args) -> None:
    """Learns, and writes what came out to result.json."""
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    if not args.task and args.env_id not in TASKS:
        raise SystemExit(f"--task: there is no task in words for {args.env_id} yet")
    args.run.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if args.simulator == "gpu" else "cpu")
    learner = Learner(args, device)
    plain = make_envs(args, rendered=False)
    client, scored = None, None
    if learner.asks:
        client = RewardClient(args.server)
        scored = with_rewards(make_envs(args, rendered=True), client, args)
    # What was logged after the checkpoint is logged again.
    log = SummaryWriter(str(args.run), purge_step=learner.iteration + 1)
    log.add_text("arguments", json.dumps(asdict(args), default=str, indent=1))

    def measure() -> None:
        outcomes = evaluate(plain, learner.agent, args)
        learner.success[str(learner.iteration)] = outcomes
        log.add_scalar("success/at_end", np.mean(outcomes), learner.iteration)

    if not learner.success:
        measure()
    bar = tqdm(total=args.iterations, initial=learner.iteration, unit="iteration")
    while learner.iteration < args.iterations:
        begun = time.monotonic()
        # Sampling goes on differently after a resume, but reproducibly.
        torch.manual_seed(args.seed * 100_003 + learner.iteration)
        first = LEARN_SEED + (args.seed * args.iterations + learner.iteration) * args.num_envs
        asks = learner.asks
        rollout = roll_out(scored if asks else plain, learner.agent, args, first, scored=asks)
        rolled = time.monotonic()
        losses = learner.learn(rollout)
        learner.iteration += 1
        learner.steps += args.num_envs * args.horizon
        learner.queries += rollout.queries
        if learner.iteration % args.evaluate_every == 0 or learner.iteration == args.iterations:
            measure()
        learner.save()
        speed = {"speed/rollout_steps_per_second": args.num_envs * args.horizon / (rolled - begun)}
        for name, value in (rollout.components | losses | speed).items():
            log.add_scalar(name, value, learner.iteration)
        log.add_scalar("rewards/queries", learner.queries, learner.iteration)
        last = np.mean(learner.success[max(learner.success, key=int)])
        bar.set_postfix(success=f"{last:.2f}", paid=f"{rollout.components['rewards/paid']:.3f}")
        bar.update()
        if scored is not None and not learner.asks:
            print(
                f"the server is asked no more: {learner.queries} queries in {learner.steps} steps"
            )
            scored.close()
            scored = None
    bar.close()
    if scored is not None:
        scored.close()
    if client is not None:
        client.close()
    log.close()
    result = {
        "arguments": asdict(args),
        "steps": learner.steps,
        "queries": learner.queries,
        "evaluation_seeds": [EVALUATE_SEED, EVALUATE_SEED + args.evaluation_episodes],
        "success": learner.success,
    }
    part = args.run / "result.part"
    part.write_text(json.dumps(result, default=str, indent=1) + "\n")
    part.rename(args.run / "result.json")


if __name__ == "__main__":
    main(tyro.cli(Args))
