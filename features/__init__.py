"""Turning columns into numbers: table encoders, text templates, TF-IDF and sentence embeddings."""
