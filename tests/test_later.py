"""What is put off is imported once it is asked for, and nobody sees the difference."""

import subprocess
import sys

PUT_OFF = """
import sys
import drive_rl
assert not {"pandas", "matplotlib", "matplotlib.pyplot", "torch"} & set(sys.modules)
from highway_env.envs.common import observation
from highway_env.vehicle import dynamics
import pandas
assert observation.pd.DataFrame is pandas.DataFrame
assert callable(dynamics.plt.subplots)
import matplotlib.pyplot
assert dynamics.plt.subplots is matplotlib.pyplot.subplots
"""

ALREADY_THERE = """
import matplotlib.pyplot, pandas
import drive_rl
from highway_env.envs.common import observation
from highway_env.vehicle import dynamics
assert observation.pd is pandas
assert dynamics.plt is matplotlib.pyplot
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_plots_and_tables_of_highway_env_are_imported_when_they_are_needed():
    run(PUT_OFF)


def test_what_is_imported_already_stays_what_it_is():
    run(ALREADY_THERE)
