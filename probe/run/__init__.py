"""Run `oscine probe` as a function: settings in, scores and files out."""
