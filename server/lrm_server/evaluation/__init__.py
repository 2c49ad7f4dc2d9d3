"""How good a reward model is on recorded episodes: questions, answers, metrics, reports."""
