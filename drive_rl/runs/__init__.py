"""A training on disk, of whatever kind: stopped at any moment, resumed bit for bit, verified.

    folder       RUN/run.yaml: what a run is, and where it comes from
    checkpoint   RUN/checkpoints/: whole or not there
    metrics      RUN/metrics.jsonl and TensorBoard's events
    lock         one process per run
    interrupts   Ctrl-C as a request to save and stop
    progress     what people see meanwhile
    tensors      weights and moments, out of networks and back into them
    networks     the loop of a training whose networks are no policies
    weights      trained networks as one safe file

Encoders (`drive_rl.perception.training`) and the texture GAN (`drive_rl.textures.adversarial`) say
what a step is; policies are trained in `drive_rl.training`, with Stable-Baselines3's loop.
"""
