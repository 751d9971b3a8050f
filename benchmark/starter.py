"""The config that `trialmark init` writes."""

from __future__ import annotations

from pathlib import Path

from features.errors import InputError

STARTER = """\
# A benchmark matrix: every model on the same rows, the same splits and the same seeds.
# Run it with: trialmark run FILE

# The data. `trialmark list readers` names the readers; each has keys of its own.
data:
  reader: synthetic        # made-up trials with a known best score; nothing is downloaded
  rows: 2000
  # Your own table instead:
  # reader: table
  # path: my-studies.csv   # relative to this file, absolute, or from ${TRIALMARK_DATA}
  # id: study_id
  # text: [title, abstract]
  # numeric: [planned_size]
  # categorical: [sponsor_type, phase]
  # date: [start]
  # target: outcome        # or a list of 0/1 columns: several labels at once
  # positive: completed
  # Keep some rows only:
  # where: {phase: [PHASE2, PHASE3]}

# What is predicted: trial-outcome, trial-status, or table-target with `reader: table`.
task: trial-outcome

# How rows are divided: 64 % train, 16 % valid, 20 % test unless said otherwise.
splits: [stratified, temporal]
seeds: [42]

# What may be known: registration (default), during or after the trial.
as_of: registration

# Who competes. `inputs` is tabular, text or both; a list makes one row of each.
models:
  - prior
  - name: tfidf-logreg
    inputs: [text, both]
  - name: lightgbm
    inputs: [tabular, text, both]
  - name: encoder
    params: {checkpoint: bundled:minilm, max_steps: 60, lr: 2.0e-4}

# What is shown; the first one ranks.
metrics: [roc_auc, average_precision, average_precision_negative, f1_macro, f1_macro@valid, brier]
"""


def write_starter(path: Path) -> None:
    """Write the starter config. Raises `InputError` if the file exists or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise InputError(f"{path} exists", "a new file", "choose another name") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "a folder that exists") from None
