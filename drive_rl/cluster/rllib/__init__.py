"""`drive-rl train --trainer rllib`: one policy whose rollouts are driven by a whole Ray cluster.

RLlib's PPO is the engine. What it trains is the network that Stable-Baselines3's PPO would, in
drive-rl's own environments, so that what comes out is a run folder like any other.

sampling   the environment that RLlib's workers step, and what they say of its episodes
learning   the network as RLlib's module, and what its learner does differently
config     a RunSpec as RLlib's configuration
trainer    the training: iterations, metrics, checkpoints, requests to stop
"""

from drive_rl.cluster.rllib.trainer import train_rllib

__all__ = ["train_rllib"]
