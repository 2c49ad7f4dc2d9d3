"""May I train on this model, in this scene? Checks on labelled episodes, and a verdict."""
