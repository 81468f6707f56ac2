"""Are the completions worth accepting? Items, methods beside each other, metrics, a report."""
