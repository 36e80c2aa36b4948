"""Drive highway-env with a policy from `drive-rl export`: neither torch nor drive-rl is needed.

python docs/drive_with_onnx.py policy.onnx [SEED]
"""

import json
import sys

import gymnasium
import highway_env  # noqa: F401 (registers its environments)
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
card = json.loads(session.get_modelmeta().custom_metadata_map["drive_rl"])
env = gymnasium.make(card["trained"]["base"])
env.unwrapped.configure(card["trained"]["config"])
observation, info = env.reset(seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
total, over = 0.0, False
while not over:
    given = observation if isinstance(observation, dict) else {"observation": observation}
    action = session.run(["action"], {name: array[None] for name, array in given.items()})[0][0]
    observation, reward, terminated, truncated, info = env.step(action)
    total, over = total + reward, terminated or truncated
print(f"return {total:.6f}, crashed {info['crashed']}")
