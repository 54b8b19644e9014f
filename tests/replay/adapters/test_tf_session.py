"""A session takes the threads that it is told to, whatever an earlier one of the process took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import os
from replay.adapters import keras_model  # sets what TensorFlow reads when it loads
import tensorflow as tf
from replay.adapters.tf_session import session_of

graph = tf.Graph()
with graph.as_default():
    tf.constant(1.0, name="one")
kept, counts = [], []
for threads in (1, 4, 1):
    before = len(os.listdir("/proc/self/task"))
    kept.append(session_of(graph.as_graph_def(), threads))
    kept[-1].run("one:0")
    counts.append(len(os.listdir("/proc/self/task")) - before)
print(counts[1] - counts[2])
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted on Linux")
def test_a_session_of_four_threads_has_three_more_than_one_of_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) == 3
