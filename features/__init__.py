"""Turning columns into numbers: table encoders, text templates, TF-IDF and sentence embeddings."""

import os

# OpenMP reads this when it loads. With its default, threads that wait keep their cores busy, and a
# LightGBM fit of 0.1 s was measured at 6 to 33 s beside another process that used the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
