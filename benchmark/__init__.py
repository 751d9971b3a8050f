"""trialmark: one harness for hybrid tabular-plus-text classification of study records."""
