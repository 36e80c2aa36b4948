"""The compiled, batched simulator: highway-env's scenes over arrays, in Numba.

It imports numpy and numba, nothing else. A decision is the recipe in `engine.Simulator.step`;
each line calls the module named after the stage.
"""
